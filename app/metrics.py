"""What Prometheus sees. Labels are endpoints, reasons and kinds, never ids.

Latencies of the token path are counted in plain lists and handed over when Prometheus asks: a histogram of
prometheus-client costs more than the frame it would time.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

TTFT_S = (0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5, 10, 30)
ITL_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.15, 0.3, 1, 5)
REQUEST_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)


class Latency(Collector):
    """A histogram in seconds with fixed bounds; `observe` is one bisection and one addition."""

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self._name, self._text, self._bounds = name, text, bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def collect(self) -> Iterator[Metric]:
        buckets, running = [], 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            running += count
            buckets.append((bound, running))
        family = HistogramMetricFamily(self._name, self._text)
        family.add_metric([], buckets, self._sum)
        yield family


class Metrics:
    """The server's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.ttft = Latency(
            "opencharacter_time_to_first_token_seconds", "Turn begun to first token, at the server.", TTFT_S
        )
        self.itl = Latency("opencharacter_inter_token_latency_seconds", "Gap between two chunks of a reply.", ITL_S)
        self.request = Latency("opencharacter_request_seconds", "Turn begun to its end.", REQUEST_S)
        self.choosing = Latency(
            "opencharacter_fidelity_choice_seconds", "The last candidate's end to the choice of the reply.", TTFT_S
        )
        for latency in (self.ttft, self.itl, self.request, self.choosing):
            registry.register(latency)
        self.prompt_tokens = Counter(
            "opencharacter_prompt_tokens", "Prompt tokens of finished requests.", registry=registry
        )
        self.cached_tokens = Counter(
            "opencharacter_cached_tokens", "Prompt tokens read from the prefix cache.", registry=registry
        )
        self.completion_tokens = Counter("opencharacter_completion_tokens", "Tokens generated.", registry=registry)
        self.running = Gauge("opencharacter_requests_running", "Requests that are receiving tokens.", registry=registry)
        self.waiting = Gauge(
            "opencharacter_requests_waiting", "Requests waiting for their first token.", registry=registry
        )
        self.requests = Counter(
            "opencharacter_requests",
            "Finished generations.",
            labelnames=("endpoint", "finish_reason"),
            registry=registry,
        )
        self.errors = Counter(
            "opencharacter_errors", "Errors told to clients, by kind.", labelnames=("kind",), registry=registry
        )
        self.cuts = Counter(
            "opencharacter_history_cuts",
            "Histories that were cut, as planned or unplanned.",
            labelnames=("kind",),
            registry=registry,
        )
        self.prewarmed_tokens = Counter(
            "opencharacter_prewarmed_tokens",
            "Prompt tokens computed ahead of their turn, beside those that were cached.",
            registry=registry,
        )
        self.prewarms = Counter(
            "opencharacter_prewarms",
            "Prompts to be read ahead of their turn, by what became of them.",
            labelnames=("outcome",),
            registry=registry,
        )
        self.detached = Gauge(
            "opencharacter_turns_detached", "Resumable turns that go on without their client.", registry=registry
        )
        self.followers = Gauge(
            "opencharacter_streams_followed", "Clients that follow a resumable turn.", registry=registry
        )
        self.lost = Counter(
            "opencharacter_turns_lost", "Resumable turns that were found without their server.", registry=registry
        )
        self.candidates = Counter(
            "opencharacter_fidelity_candidates", "Replies of which the truest to the card was told.", registry=registry
        )
        self.commits = Counter("opencharacter_sessions_committed", "Turns written to Redis.", registry=registry)

    def exposition(self) -> bytes:
        """The text format that Prometheus scrapes."""
        return generate_latest(self._registry)
