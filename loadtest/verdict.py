"""Rounds of two servers side by side: medians, spread, and whether the targets are met."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rich.table import Table

from loadtest.rounds import Round

LABELS = {
    "api_cpu_us_per_token": "API process, CPU µs a token",
    "redis_cpu_us_per_token": "Redis, CPU µs a token",
    "engine_cpu_us_per_token": "engine, CPU µs a token",
    "output_tokens_per_s": "tokens/s",
    "ttft_p50_ms": "TTFT p50, ms",
    "ttft_p99_ms": "TTFT p99, ms",
    "ttft_single_p50_ms": "TTFT p50 at one stream, ms",
    "itl_p50_ms": "ITL p50, ms",
    "itl_p99_ms": "ITL p99, ms",
    "tokens_per_frame": "tokens a frame",
    "prompt_tokens": "prompt tokens",
    "cached_share": "share of them cached",
    "completion_tokens": "tokens generated",
    "client_cpu_us_per_token": "load generator, CPU µs a token",
    "idle_server_cpu_share": "cores that the other server took",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A limit on `key` beside the other server's: a ratio, or a difference."""

    key: str
    text: str
    at_most_ratio: float | None = None
    at_least_ratio: float | None = None
    at_most_more: float | None = None

    def is_met(self, ours: float, theirs: float) -> bool:
        """Whether every limit that is set holds."""
        return (
            (self.at_most_ratio is None or ours <= self.at_most_ratio * theirs)
            and (self.at_least_ratio is None or ours >= self.at_least_ratio * theirs)
            and (self.at_most_more is None or ours <= theirs + self.at_most_more)
        )


TARGETS = (
    Target("api_cpu_us_per_token", "≤ 0.5 ×", at_most_ratio=0.5),
    Target("output_tokens_per_s", "≥ 0.98 ×", at_least_ratio=0.98),
    Target("ttft_p50_ms", "≤ theirs + 3 ms", at_most_more=3.0),
    Target("ttft_single_p50_ms", "≤ theirs + 3 ms", at_most_more=3.0),
    # The same work: otherwise nothing above means anything.
    Target("prompt_tokens", "the same ± 1 %", at_most_ratio=1.01, at_least_ratio=0.99),
    Target("completion_tokens", "the same", at_most_ratio=1.0, at_least_ratio=1.0),
)


def medians(rounds: Sequence[Round]) -> Round:
    """The median of each figure over the rounds."""
    return {key: median(figures[key] for figures in rounds) for key in LABELS}


def failed_targets(ours: Round, theirs: Round) -> list[str]:
    """Keys of the targets that aren't met."""
    return [target.key for target in TARGETS if not target.is_met(ours[target.key], theirs[target.key])]


def comparison_table(ours: Sequence[Round], theirs: Sequence[Round], title: str) -> Table:
    """A row a figure: medians with the spread over rounds, the ratio, the target."""
    table = Table(title=title, title_justify="left")
    for column in ("", "ours", "vLLM's server", "ratio", "target", ""):
        table.add_column(column, justify="left" if column == "" else "right")
    targets: Mapping[str, Target] = {target.key: target for target in TARGETS}
    mine, other = medians(ours), medians(theirs)
    for key, label in LABELS.items():
        target = targets.get(key)
        met = "" if target is None else "PASS" if target.is_met(mine[key], other[key]) else "[red]FAIL[/red]"
        ratio = f"{mine[key] / other[key]:.2f}" if other[key] else "–"
        table.add_row(label, _cell(ours, key), _cell(theirs, key), ratio, target.text if target else "", met)
    return table


def _cell(rounds: Sequence[Round], key: str) -> str:
    values = [figures[key] for figures in rounds]
    if min(values) == max(values):
        return _number(values[0])
    return f"{_number(median(values))} ({_number(min(values))}–{_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
