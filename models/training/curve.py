"""The course of a training loss as a small picture."""

from collections.abc import Sequence
from pathlib import Path

from models.training.journal import Point


def draw_curve(points: Sequence[Point], path: Path) -> None:
    """Write a PNG of the loss by step, one line a phase."""
    import matplotlib  # takes a second to import, and only training draws

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.5), dpi=80)
    for phase in dict.fromkeys(point.phase for point in points):
        own = [point for point in points if point.phase == phase]
        axes.plot([point.step for point in own], [point.loss for point in own], label=phase)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.set_yscale("log")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
