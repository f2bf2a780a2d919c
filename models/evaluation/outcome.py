"""What a PersonaGym run came to, as it is written down, told on a terminal, and compared with another run's."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table as Grid

from models.evaluation.intervals import Estimate
from models.evaluation.personagym_tree import Item
from models.evaluation.scores import MOST_LOST
from models.evaluation.tally import MEASURES, Tally, compare, count_scores, estimate_measures, score_personas
from models.synthesis.pipeline.task import Row
from models.synthesis.teachers.teacher import Stop

Outcome = dict[str, Any]  # as in JSON

BENCHMARK = "personagym"
MOST_FILE_BYTES = 64 << 20
# Answers that are shown in a report, from each end of the scale.
SAMPLES = 3


def build_outcome(
    items: Sequence[Item],
    result: Tally,
    identity: Mapping[str, Any],
    spent: Mapping[str, Sequence[Row]],
    options: argparse.Namespace,
) -> Outcome:
    """All that is worth keeping. Above 2 % lost there are no measures in it."""
    table = score_personas(items, result.scores) if result.is_sound else {}
    return {
        "benchmark": BENCHMARK,
        "model": options.model,
        "identity": dict(identity),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "questions": result.total,
        "personas": len({item.persona for item in items}),
        "lost": dict(result.lost),
        "cut_answers": sum(bool(row["is_cut"]) for row in spent["answers"]),
        "judges_itself": options.model in identity["judges"],
        "measures": {name: asdict(one) for name, one in estimate_measures(table).items()} if table else None,
        "by_persona": table,
        "counts": count_scores(items, result.scores) if table else {},
        "cost": _add_costs(spent, options),
        "samples": _choose_samples(spent, result) if table else [],
    }


def read_outcome(path: Path) -> Outcome:
    """A run's scores. Raises Stop when they aren't PersonaGym's, or there are none in it."""
    try:
        if path.stat().st_size > MOST_FILE_BYTES:
            raise ValueError(f"more than {MOST_FILE_BYTES} bytes")
        outcome = orjson.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Stop(f"{path} can't be read: {error}") from error
    if not isinstance(outcome, dict) or outcome.get("benchmark") != BENCHMARK:
        raise Stop(f"{path} has no scores of PersonaGym")
    return outcome


def check_baseline(outcome: Outcome, baseline: Outcome, name: str) -> Outcome:
    """How much more `outcome` is, persona by persona, to be added to it. Raises Stop where the two don't compare."""
    ours, theirs = outcome["identity"], baseline["identity"]
    if differ := sorted(key for key in ours if ours[key] != theirs.get(key)):
        told = ", ".join(f"{key} is {ours[key]!r} here and {theirs.get(key)!r} there" for key in differ)
        raise Stop(f"the baseline isn't comparable: {told}")
    if not baseline["by_persona"]:
        raise Stop("the baseline has no scores: too much of it was lost")
    gains = compare(outcome["by_persona"], baseline["by_persona"])
    by_measure = {measure: asdict(one) for measure, one in gains.items()}
    return {"baseline": {"model": baseline["model"], "file": name, "gains": by_measure}}


def tell_outcome(outcome: Outcome, console: Console) -> None:
    """The measures, or why there are none; what was lost, by reason; tokens."""
    lost, total = sum(outcome["lost"].values()), outcome["questions"]
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(outcome["lost"].items()))
    console.print(f"{total - lost} of {total} questions judged; lost: {reasons or 'none'}", **_PLAIN)
    if outcome["measures"] is None:
        told = f"no score: {lost / total:.1%} lost, and more than {MOST_LOST:.0%} says something about something else"
        console.print(told, style="red", **_PLAIN)
    else:
        console.print(_build_grid(outcome))
    if outcome["judges_itself"]:
        console.print("the model is its own judge: compare with no other model's scores", style="yellow", **_PLAIN)
    for stage, cost in outcome["cost"].items():
        price = f", {cost['price']:.2f}" if "price" in cost else ""
        read, written = cost["prompt_tokens"], cost["completion_tokens"]
        console.print(f"{stage}: {read:,} prompt and {written:,} completion tokens{price}", **_PLAIN)


def _build_grid(outcome: Outcome) -> Grid:
    gains = outcome.get("baseline", {}).get("gains", {})
    against = [f"more than {outcome['baseline']['model']}"] if gains else []
    grid = Grid("measure", "mean (std)", "95 %", *against)
    for name in MEASURES:
        one = Estimate(**outcome["measures"][name])
        more = Estimate(**gains[name]) if gains else None
        told = (
            [f"{more.mean:+.2f} [{more.low:+.2f}, {more.high:+.2f}]{'' if more.is_clear else ' unclear'}"]
            if more
            else []
        )
        grid.add_row(name, f"{one.mean:.2f} ({one.std:.2f})", f"{one.low:.2f} to {one.high:.2f}", *told)
    return grid


def _add_costs(spent: Mapping[str, Sequence[Row]], options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Tokens of each stage, and their price where one is given. Those of tries that came to nothing aren't known."""
    costs: dict[str, dict[str, float]] = {}
    for stage, rows in spent.items():
        prompt, completion = (sum(row[name] for row in rows) for name in ("prompt_tokens", "completion_tokens"))
        costs[stage] = {"prompt_tokens": prompt, "completion_tokens": completion, "calls": len(rows)}
        if price := options.price if stage == "answers" else options.judge_price:
            costs[stage]["price"] = (prompt * price[0] + completion * price[1]) / 1e6
    return costs


def _choose_samples(spent: Mapping[str, Sequence[Row]], result: Tally) -> list[dict[str, Any]]:
    """The best and the worst answers with what the judge says of them, to see for oneself."""
    answers = {row["id"]: row for row in spent["answers"]}
    reasons = {question: row["reason"] for row in spent["verdicts"] for question in row["scores"]}
    ordered = sorted(result.scores, key=lambda question: (result.scores[question], question))
    chosen = dict.fromkeys([*ordered[:SAMPLES], *ordered[-SAMPLES:]])
    fields = ("persona", "task", "question", "answer")
    return [
        {**{name: answers[one][name] for name in fields}, "score": result.scores[one], "reason": reasons[one]}
        for one in chosen
    ]


_PLAIN: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}  # as Console.print takes them
