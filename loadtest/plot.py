"""Figures as a picture. Plain `Figure` objects: matplotlib's global state is left alone."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtest.sample import Run
from loadtest.summary import Figures


def plot_run(run: Run, figures: Figures, title: str, path: Path) -> None:
    """Write a PNG of four panels: latencies as distributions, TTFT over the run, cached share by turn."""
    good = [turn for turn in run.turns if turn.ok]
    figure = Figure(figsize=(12, 8), layout="constrained")
    figure.suptitle(title)
    (first, gaps), (timeline, cache) = figure.subplots(2, 2)

    _distribution(first, [turn.ttft_s * 1e3 for turn in good if turn.ttft_s is not None], "TTFT")
    _distribution(first, [turn.e2e_s * 1e3 for turn in good], "E2E")
    first.set(title="TTFT and E2E from the intended send", xlabel="ms", ylabel="share of turns")
    first.legend()

    _distribution(gaps, (gap * 1e3 for turn in good for gap in turn.gaps_s), "ITL, gaps between frames")
    _distribution(gaps, [turn.tpot_s * 1e3 for turn in good if turn.tpot_s is not None], "TPOT, by turn")
    gaps.set(title="ITL and TPOT", xlabel="ms", ylabel="share")
    gaps.legend()

    first_frames = [(turn.intended_s - run.started_s, turn.ttft_s * 1e3) for turn in good if turn.ttft_s is not None]
    timeline.scatter([when for when, _ in first_frames], [ttft for _, ttft in first_frames], s=8)
    failed = [turn.intended_s - run.started_s for turn in run.turns if not turn.ok]
    timeline.scatter(failed, [0.0] * len(failed), marker="x", color="red", label=f"{len(failed)} failed")
    timeline.set(title="TTFT by intended send", xlabel="s since the start", ylabel="ms")
    if failed:
        timeline.legend()

    rows = figures["by_turn"]
    cache.bar([row["turn"] + 1 for row in rows], [row["cached_share"] for row in rows])
    cache.set(title="Prompt tokens cached, by turn", xlabel="turn", ylabel="share", ylim=(0, 1))
    figure.savefig(path, dpi=110)


def plot_window(curves: dict[str, Sequence[Figures]], title: str, path: Path) -> None:
    """Write a PNG of cached share and TTFT by turn, a curve for each way of cutting the history."""
    figure = Figure(figsize=(12, 7), layout="constrained")
    figure.suptitle(title)
    shares, latencies = figure.subplots(2, 1, sharex=True)
    for label, rows in curves.items():
        turns = [row["turn"] + 1 for row in rows]
        shares.plot(turns, [row["cached_share"] for row in rows], label=label, linewidth=1)
        # A turn in which nobody has said a word has none.
        latencies.plot(turns, [row["ttft_ms"].get("p50", math.nan) for row in rows], label=label, linewidth=1)
    shares.set(ylabel="share of prompt tokens cached", ylim=(0, 1))
    latencies.set(ylabel="TTFT, ms (median of the chats)", xlabel="turn", ylim=(0, None))
    figure.legend(*shares.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=110)


def _distribution(axes: Axes, values: Iterable[float], label: str) -> None:
    ordered = np.sort(np.array(list(values)))
    if ordered.size:
        axes.step(ordered, np.arange(1, ordered.size + 1) / ordered.size, label=label)
        axes.set_xscale("log")
