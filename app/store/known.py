"""The messages of sessions that were read or written here lately, so that each of them is read once.

Which they are a commit tells: whoever commits names it, and no two have the same name.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.sessions.message import Message

# Of all sessions together: with their ids some 100 MB.
MOST_KNOWN = 40_000


@dataclass(frozen=True, slots=True)
class Known:
    """A session's messages as a commit left them; of nothing that is known, none."""

    commit: bytes = b""
    messages: Mapping[str, Message] = field(default_factory=dict)


NOTHING_KNOWN = Known()


class KnownMessages:
    """Those of the sessions that were asked for last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._count = 0

    def find(self, session_id: str) -> Known:
        return self._known.get(session_id, NOTHING_KNOWN)

    def keep(self, session_id: str, known: Known) -> None:
        """Keep them instead of those of an earlier commit, and let go of what was asked for longest ago."""
        self.forget(session_id)
        self._known[session_id] = known
        self._count += _weight(known)
        while self._count > self._most:
            self.forget(next(iter(self._known)))

    def forget(self, session_id: str) -> None:
        known = self._known.pop(session_id, None)
        self._count -= _weight(known) if known else 0


def _weight(known: Known) -> int:
    return len(known.messages) + 1
