"""What a turn says, and how a session's tree gets it: a message for each of its replies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.sessions.message import FinishReason, Message
from app.sessions.plans import Plan
from app.sessions.session import Session
from models.engine import Chunk, TokenLogprob


@dataclass(slots=True)
class Choice:
    """One reply as far as it has come. `token_ids` end with the stop token where there was one."""

    text: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: str | None = None

    @property
    def content(self) -> str:
        return "".join(self.text)

    def hear(self, chunk: Chunk) -> None:
        """Add what it says next."""
        self.text.append(chunk.text)
        self.token_ids.extend(chunk.token_ids)
        if chunk.logprobs:
            self.logprobs.extend(chunk.logprobs)
        if chunk.finish_reason is not None:
            self.finish_reason = chunk.finish_reason


@dataclass(slots=True)
class SessionWrite:
    """What a turn will write: what its plan adds, then a message for each choice; the first ends the branch."""

    session: Session
    turn_id: str
    plan: Plan
    window: str | None
    message_ids: Sequence[str]
    state: Mapping[str, Any] | None = None
    operation: str | None = None

    @property
    def message_id(self) -> str:
        return self.message_ids[0]

    def is_worth_keeping(self, choice: Choice) -> bool:
        """Whether anything came of it; a reply that is continued must have more words."""
        return bool(choice.content) or (choice.finish_reason is not None and self.plan.trigger != "continue")

    def message(self, index: int, choice: Choice, token_ids: Sequence[int]) -> Message:
        """What choice number `index` came to; `token_ids` are those of its content."""
        plan = self.plan
        return Message(
            id=self.message_ids[index],
            parent=plan.parent,
            role=plan.role,
            content=plan.prefill + choice.content,
            token_ids=[*plan.prefill_ids, *token_ids],
            finish_reason=_stored(choice.finish_reason),
            state=self.state,
            speaker=plan.speaker,
            seen_by=plan.seen_by,
            turn_id=self.turn_id,
        )


def _stored(finish_reason: str | None) -> FinishReason:
    return "stop" if finish_reason == "stop" else "length" if finish_reason == "length" else "interrupted"
