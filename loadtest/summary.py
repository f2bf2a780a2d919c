"""From samples to the figures that are reported: all seen from the client, except the server's CPU."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadtest.sample import Run, TurnSample

QUANTILES = {"p50": 50, "p90": 90, "p99": 99}
Figures = dict[str, Any]  # JSON


@dataclass(frozen=True, slots=True)
class Slo:
    """What counts as a good turn: both limits kept."""

    ttft_ms: float
    tpot_ms: float

    def is_met(self, turn: TurnSample) -> bool:
        if not turn.ok or turn.ttft_s is None:
            return False
        return turn.ttft_s * 1e3 <= self.ttft_ms and (turn.tpot_s or 0.0) * 1e3 <= self.tpot_ms


def summarize(run: Run, slo: Slo) -> Figures:
    """The run's figures as JSON. Latencies are of turns that succeeded; failed ones are errors and miss the SLO."""
    good = [turn for turn in run.turns if turn.ok]
    prompt_tokens = sum(turn.prompt_tokens for turn in good)
    cached_tokens = sum(turn.cached_tokens for turn in good)
    frames = sum(len(turn.frames_s) for turn in good)
    completion_tokens = sum(turn.completion_tokens for turn in good)
    kept = sum(map(slo.is_met, run.turns))
    return {
        "wall_s": run.wall_s,
        "turns_planned": run.planned_turns,
        "turns_ok": len(good),
        "errors": count_errors(run),
        "requests_per_s": len(good) / run.wall_s,
        "output_tokens_per_s": completion_tokens / run.wall_s,
        "prompt_tokens": prompt_tokens,
        "cached_tokens": cached_tokens,
        "completion_tokens": completion_tokens,
        "cached_share": cached_tokens / prompt_tokens if prompt_tokens else 0.0,
        "tokens_per_frame": completion_tokens / frames if frames else 0.0,
        "ttft_ms": spread(turn.ttft_s for turn in good),
        "ttft_from_send_ms": spread(turn.ttft_s - turn.lag_s for turn in good if turn.ttft_s is not None),
        "itl_ms": spread(gap for turn in good for gap in turn.gaps_s),
        "tpot_ms": spread(turn.tpot_s for turn in good),
        "e2e_ms": spread(turn.e2e_s for turn in good),
        "send_lag_ms": spread(turn.lag_s for turn in run.turns),
        "session_open_ms": spread(opened.open_s for opened in run.opens if opened.error is None),
        "goodput": {
            "slo_ttft_ms": slo.ttft_ms,
            "slo_tpot_ms": slo.tpot_ms,
            "turns_per_s": kept / run.wall_s,
            "share": kept / run.planned_turns if run.planned_turns else 0.0,
        },
        "by_turn": by_turn(good),
        "client": {
            "cpu_share": run.client_cpu_s / run.wall_s,
            "cpu_us_per_token": 1e6 * run.client_cpu_s / completion_tokens if completion_tokens else 0.0,
        },
    }


def spread(values_s: Iterable[float | None]) -> Figures:
    """Count, mean, quantiles and maximum in milliseconds; only the count where there is nothing. None is left out."""
    values = np.array([value for value in values_s if value is not None]) * 1e3
    if not values.size:
        return {"count": 0}
    quantiles = {name: float(np.percentile(values, q)) for name, q in QUANTILES.items()}
    return {"count": int(values.size), "mean": float(values.mean()), **quantiles, "max": float(values.max())}


def by_turn(turns: Sequence[TurnSample]) -> list[Figures]:
    """TTFT and cached share of the first turns, the second turns, and so on."""
    rows = []
    for number in sorted({turn.turn for turn in turns}):
        those = [turn for turn in turns if turn.turn == number]
        prompt_tokens = sum(turn.prompt_tokens for turn in those)
        rows.append(
            {
                "turn": number,
                "prompt_tokens": prompt_tokens,
                "cached_share": sum(turn.cached_tokens for turn in those) / prompt_tokens if prompt_tokens else 0.0,
                "ttft_ms": spread(turn.ttft_s for turn in those),
            }
        )
    return rows


def count_errors(run: Run) -> dict[str, int]:
    """Failures by kind; a session that couldn't be made counts once, as `open_…`."""
    counts = Counter(turn.error for turn in run.turns if turn.error)
    counts.update(f"open_{opened.error}" for opened in run.opens if opened.error)
    return dict(counts.most_common())
