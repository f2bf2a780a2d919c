"""One measured turn: what was meant, what was sent, what came back and when."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(slots=True)
class TurnSample:
    """Times are seconds on the client's monotonic clock.

    `intended_s` is when the schedule wanted the turn sent; a client or a server that can't keep up shows in `lag_s` and
    in every latency, instead of quietly thinning out the load (coordinated omission).
    """

    session: int
    turn: int
    character: str
    intended_s: float
    sent_s: float
    frames_s: list[float] = field(default_factory=list)
    """When each frame with text arrived."""
    ended_s: float = 0.0
    reply: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    prewarmed_tokens: int = 0
    """What the server computed ahead of it, since the turn before."""
    error: str | None = None
    """What kind of failure, or None: see `loadtest.turns`."""
    detail: str = ""
    """What the server said of it, for a person to read."""

    @property
    def ok(self) -> bool:
        return self.error is None

    @property
    def lag_s(self) -> float:
        """How late it was sent."""
        return self.sent_s - self.intended_s

    @property
    def ttft_s(self) -> float | None:
        """Intended send to the first frame with text."""
        return self.frames_s[0] - self.intended_s if self.frames_s else None

    @property
    def e2e_s(self) -> float:
        """Intended send to the end of the stream."""
        return self.ended_s - self.intended_s

    @property
    def tpot_s(self) -> float | None:
        """(E2E - TTFT) / (completion_tokens - 1); None where one token or none came."""
        if not self.frames_s or self.completion_tokens < 2:
            return None
        return (self.ended_s - self.frames_s[0]) / (self.completion_tokens - 1)

    @property
    def gaps_s(self) -> Sequence[float]:
        """Inter-token latencies: gaps between frames; a frame may carry more than one token."""
        return [later - earlier for earlier, later in pairwise(self.frames_s)]


@dataclass(slots=True)
class OpenSample:
    """Making a session, where the API has sessions: a request of its own before the first turn."""

    intended_s: float
    ended_s: float
    error: str | None = None

    @property
    def open_s(self) -> float:
        return self.ended_s - self.intended_s


@dataclass(frozen=True, slots=True)
class Run:
    """Everything measured between `started_s` and `ended_s`."""

    turns: Sequence[TurnSample]
    opens: Sequence[OpenSample]
    planned_turns: int
    started_s: float
    ended_s: float
    client_cpu_s: float

    @property
    def wall_s(self) -> float:
        return self.ended_s - self.started_s

    @property
    def completion_tokens(self) -> int:
        return sum(turn.completion_tokens for turn in self.turns)
