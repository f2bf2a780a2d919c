"""Notes that the model takes of what leaves a prompt, at the end of the very prompt that its engine has read."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing

from app.sessions.exchanges import as_said
from app.sessions.ids import new_id
from app.sessions.message import Message
from app.sessions.session import Session
from app.sessions.window import find_start, recap_of
from models.engine import BACKGROUND, Engine, EngineError, InvalidRequest
from models.memory.extraction import MOST_TOKENS, REQUEST, Extract, extraction_params, parse_extract
from models.renderer import RenderError, Turn
from models.sections import build_recap

logger = logging.getLogger(__name__)

# Nobody waits for them; an engine that is busy for so long has better to do.
NOTES_S = 60.0


class Notes:
    """Takes notes on one engine, for one session at a time, behind everybody's turns."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._place = asyncio.Semaphore(1)

    async def take(self, session: Session, history: Sequence[Message], leaving: Sequence[Message]) -> Extract | None:
        """What the model writes down of `leaving`, the end of `history`; None where that is nothing of use."""
        # What was whispered must not be in what all are told.
        history, leaving = session.shared(history), session.shared(leaving)
        if not leaving:
            return None
        said = [text for one in as_said(session, leaving) for text in (one.speaker, one.text)]
        try:
            prompt = self._prompt(session, history, leaving)
            if prompt is None:
                return None
            async with asyncio.timeout(NOTES_S), self._place:
                text = await self._write(prompt)
            return parse_extract(text, [session.user.name, session.card.name, recap_of(session, history), *said])
        except (EngineError, InvalidRequest, RenderError, TimeoutError, ValueError) as error:
            logger.debug("no notes of session %s: %s", session.id, error)
            return None

    async def _write(self, prompt: list[int]) -> str:
        chunks = self._engine.generate(prompt, extraction_params(), request_id=new_id("notes"), priority=BACKGROUND)
        async with aclosing(chunks):
            return "".join([chunk.text async for chunk in chunks])

    def _prompt(self, session: Session, history: Sequence[Message], leaving: Sequence[Message]) -> list[int] | None:
        """The prompt as turns had it, up to what leaves, and the request; None where that doesn't fit."""
        renderer = self._engine.renderer
        ids = [message.id for message in history]
        start = min(find_start(session, history), ids.index(leaving[0].id))
        request = REQUEST.replace("{char}", session.card.name).replace("{user}", session.user.name)
        turns = [
            *session.head,
            *build_recap(renderer.encode, recap_of(session, history)),
            *session.as_turns(history[start:], renderer.encode),
            Turn("system", renderer.encode(request)),
        ]
        prompt = renderer.render(turns)
        return prompt if len(prompt) + MOST_TOKENS <= self._engine.max_model_len else None
