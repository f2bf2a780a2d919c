"""A turn that was taken before, told again: from the session, with nothing generated and nothing written."""

import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from app.sessions.choice import SessionWrite
from app.sessions.plans import Plan
from app.sessions.receipts import Receipt
from app.sessions.session import Session
from app.sessions.turn import RunningTurn
from models.engine import Chunk, SamplingParams

if TYPE_CHECKING:
    from app.sessions.turns import Turns


class RecalledTurn(RunningTurn):
    """The turn of a receipt. It streams what the replies have come to, each in one chunk; logprobs aren't kept.

    `told` is how many of them a client hears, and nobody knows any more what they scored.
    """

    def __init__(
        self, turns: "Turns", session: Session, receipt: Receipt, endpoint: str, *, told: int | None = None
    ) -> None:
        written = [session.messages[message_id] for message_id in receipt.message_ids]
        first = written[0]
        plan = Plan([], first.parent, role=first.role, prefill=first.content[: receipt.begun])
        write = SessionWrite(session, receipt.turn_id, plan, session.window, receipt.message_ids)
        super().__init__(turns, [], SamplingParams(n=len(written)), endpoint, time.perf_counter(), write)
        self.prompt_tokens, self.cached_tokens = receipt.prompt_tokens, receipt.cached_tokens
        self._receipt = receipt
        self._kept = written
        self.told = min(told or len(written), len(written))

    async def stream(self) -> AsyncGenerator[Chunk]:
        for index, message in enumerate(self._kept):
            reason = message.finish_reason
            text = message.content[self._receipt.begun :]
            chunk = Chunk(index, text, [], None if reason == "interrupted" else reason)
            self._note(chunk)
            self.choices[index].finish_reason = reason
            if index < self.told:
                yield chunk

    @property
    def completion_tokens(self) -> int:
        return self._receipt.completion_tokens

    async def _commit(self, _: SessionWrite) -> None:
        self.written, self.version = self._kept, self._receipt.version
