"""Scores as pictures: SVG that a page can hold. Plain `Figure` objects: matplotlib's global state is left alone."""

import io
from base64 import b64encode
from collections.abc import Sequence
from math import floor
from typing import TYPE_CHECKING, Any

from models.evaluation.judge import SCALE
from models.evaluation.personagym_tree import TASKS
from models.evaluation.published import CALLED, TABLES
from models.evaluation.tally import MEASURES

if TYPE_CHECKING:  # takes a second to import, and only reports draw
    from matplotlib.figure import Figure

Outcome = dict[str, Any]

# Told apart by anybody's eyes (Okabe and Ito), in the order of the runs.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# From the worst score to the best.
SCORE_COLOURS = ("#b2182b", "#ef8a62", "#d9d9d9", "#67a9cf", "#2166ac")
GREY = "#777777"


def draw_measures(outcomes: Sequence[Outcome], edition: str) -> str:
    """Each measure of each run with its interval, and the paper's OpenCharacter."""
    figure = _new_figure(8.5, 1.2 + 0.3 * len(MEASURES) * (len(outcomes) + 1))
    axes = figure.subplots()
    step = 0.7 / (len(outcomes) + 1)
    for place, outcome in enumerate(outcomes):
        rows = [outcome["measures"][name] for name in MEASURES]
        means = [row["mean"] for row in rows]
        reach = [[row["mean"] - row["low"] for row in rows], [row["high"] - row["mean"] for row in rows]]
        heights = [number + place * step for number in range(len(MEASURES))]
        colour = COLOURS[place % len(COLOURS)]
        axes.errorbar(means, heights, xerr=reach, fmt="o", color=colour, capsize=3, label=outcome["title"])
    _, table, published = TABLES[edition]
    [ours] = [row for row in published if row.model == CALLED]
    theirs = [ours.measure(name) or float("nan") for name in MEASURES]
    heights = [number + len(outcomes) * step for number in range(len(MEASURES))]
    axes.plot(theirs, heights, "D", color=GREY, fillstyle="none", label=f"{CALLED} ({table} of the paper)")
    axes.set_yticks([number + len(outcomes) * step / 2 for number in range(len(MEASURES))], MEASURES)
    axes.set(
        xlabel="mean over personas, with 95 % interval",
        xlim=(_left_of(outcomes, theirs), 5.1),
        ylim=(len(MEASURES) - 0.2, -0.3),
    )
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.14 if len(outcomes) < 3 else -0.08), frameon=False, ncols=2)
    return _to_address(figure)


def draw_counts(outcome: Outcome) -> str:
    """How often each score was given, by task."""
    figure = _new_figure(8.5, 2.6)
    axes = figure.subplots()
    for place, task in enumerate(TASKS):
        counts = outcome["counts"][task]
        total, start = max(1, sum(counts.values())), 0.0
        for score, colour in zip(SCALE, SCORE_COLOURS, strict=True):
            share = counts[str(score)] / total
            axes.barh(place, share, left=start, color=colour, label=str(score) if not place else None)
            if share >= 0.06:
                shade = "white" if score in (SCALE[0], SCALE[-1]) else "black"
                axes.text(start + share / 2, place, f"{share:.0%}", ha="center", va="center", fontsize=8, color=shade)
            start += share
    axes.set_yticks(range(len(TASKS)), TASKS)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="share of answers")
    figure.legend(loc="outside right center", title="score", frameon=False)
    return _to_address(figure)


def draw_gains(outcome: Outcome) -> str:
    """How much more each measure is than the baseline's, with its interval."""
    figure = _new_figure(8.5, 2.8)
    axes = figure.subplots()
    gains = [outcome["baseline"]["gains"][name] for name in MEASURES]
    for place, one in enumerate(gains):
        is_clear = one["low"] > 0 or one["high"] < 0
        reach = [[one["mean"] - one["low"]], [one["high"] - one["mean"]]]
        colour = COLOURS[0] if is_clear else GREY
        axes.errorbar([one["mean"]], [place], xerr=reach, fmt="o", capsize=3, color=colour)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(MEASURES)), MEASURES)
    axes.invert_yaxis()
    axes.set(xlabel=f"more than {outcome['baseline']['title']}, paired by persona, 95 %; grey: may be chance")
    axes.grid(axis="x", alpha=0.3)
    return _to_address(figure)


def _left_of(outcomes: Sequence[Outcome], theirs: Sequence[float]) -> float:
    """Where the axis begins: at a half point below all that is drawn."""
    lowest: float = min(*(row["low"] for outcome in outcomes for row in outcome["measures"].values()), *theirs)
    return floor(2 * lowest) / 2 - 0.1


def _new_figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _to_address(figure: "Figure") -> str:
    """A `data:` address: pictures on one page don't share names. Nothing is behind the drawing: a page may be dark."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None}, transparent=True)
    return f"data:image/svg+xml;base64,{b64encode(drawn.getvalue()).decode()}"
