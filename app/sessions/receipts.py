"""Operations that clients have named, so that none is done twice: what each came to, kept beside what it did.

A receipt is written in one step with what was done, and says so to whoever does it again after a crash at any point.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import blake2b

KEPT_S = 24 * 3600

# The operation that the current request is, where its client has named it.
_current: ContextVar[str | None] = ContextVar("operation", default=None)


@contextmanager
def named(operation: str) -> Iterator[None]:
    """Whatever is begun in the body is this operation."""
    before = _current.set(operation)
    try:
        yield
    finally:
        _current.reset(before)


@contextmanager
def part(number: int) -> Iterator[None]:
    """What is begun in the body is one of several parts of the current operation, and named after it."""
    operation = current_operation()
    if operation is None:
        yield
        return
    with named(f"{operation}/{number}"):
        yield


def current_operation() -> str | None:
    """The name of the operation that is under way here; None where it has none."""
    return _current.get()


def own_name(*parts: str) -> str | None:
    """What the current operation may call something that it makes: the same whenever it is tried; None without one."""
    operation = current_operation()
    return blake2b("\0".join([operation, *parts]).encode(), digest_size=16).hexdigest() if operation else None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The turn that an operation was, the session's version and tip after it, and the messages that it wrote.

    `begun` is how many characters of their contents the replies went on from; the counts are of tokens.
    """

    operation: str
    turn_id: str
    version: int
    tip: str | None
    message_ids: Sequence[str] = ()
    begun: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


class DoneBefore(Exception):
    """The operation was done by an earlier attempt: nothing is to be done but to say what it came to."""

    def __init__(self, receipt: Receipt) -> None:
        super().__init__(receipt.operation)
        self.receipt = receipt
