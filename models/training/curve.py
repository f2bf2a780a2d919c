"""The course of a training loss as a small picture."""

from collections.abc import Sequence
from pathlib import Path

from models.training.loop import Point


def draw_curve(points: Sequence[Point], path: Path) -> None:
    """Write a PNG of the loss by tokens, one line a phase, phases one after the other."""
    import matplotlib  # takes a second to import, and only training draws

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.5), dpi=80)
    before = 0
    for phase in dict.fromkeys(point.phase for point in points):
        own = [point for point in points if point.phase == phase]
        axes.plot([(before + point.tokens) / 1e6 for point in own], [point.loss for point in own], label=phase)
        before += own[-1].tokens
    axes.set_xlabel("million tokens, padding included")
    axes.set_ylabel("loss")
    axes.set_yscale("log")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
