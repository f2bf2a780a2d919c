"""A turn: begin → stream → commit.

`Turns.reply`, `regenerate` and `complete` begin one: they do everything that can still be an HTTP status. The turn then
streams chunks, and leaving its `async with` commits: the whole reply, or the part that was spoken, marked as
interrupted; a turn that said nothing leaves no trace. Both sides of an exchange are written in one step, so no failure
can leave half of it.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

import anyio

from app.errors import (
    ApiError,
    ContextLengthError,
    EngineDownError,
    InvalidRequestError,
    UnavailableError,
)
from app.metrics import Metrics
from app.sessions.session import FinishReason, Message, Session, as_turns, new_id
from app.store.sessions import SessionStore
from models.engine import Chunk, Engine, EngineDeadError, EngineError, InvalidRequest, SamplingParams, TokenLogprob
from models.prompt import PromptTooLong, build_prompt
from models.renderer import RenderError
from models.renderer import Turn as RenderedTurn

logger = logging.getLogger(__name__)

# Streams from which on a frame holds two tokens, and four.
PAIRS_FROM, FOURS_FROM = 24, 128

# From a session to the messages that a turn adds, and the id of the one that it answers.
Plan = Callable[[Session], tuple[list[Message], str]]


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


@dataclass(slots=True)
class SessionWrite:
    """What a turn will write: the user's message if it brings one, then the reply under `parent`."""

    session: Session
    lease: str
    added: list[Message]
    parent: str
    window: str | None
    message_id: str
    prefill: str = ""
    prefill_ids: Sequence[int] = ()


class Turn:
    """One generation, with or without a session. Use: `async with turn: async for chunk in turn.stream(): …`."""

    def __init__(
        self,
        turns: "Turns",
        prompt: list[int],
        params: SamplingParams,
        endpoint: str,
        write: SessionWrite | None = None,
    ) -> None:
        self.id = new_id("chatcmpl")
        self.choices = [Choice() for _ in range(params.n)]
        self.prompt_tokens = len(prompt)
        self.cached_tokens = 0
        self.write = write
        self.version: int | None = None
        self._turns = turns
        self._prompt = prompt
        self._params = params
        self._endpoint = endpoint
        self._started = time.perf_counter()
        self._first: float | None = None

    async def stream(self) -> AsyncGenerator[Chunk]:
        """The reply's chunks. Raises ApiError, also before the first one; closing it stops the engine."""
        metrics = self._turns.metrics
        observe_gap = metrics.itl.observe
        last = 0.0
        chunks = self._turns.engine.generate(self._prompt, self._params, request_id=self.id)
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    now = time.perf_counter()
                    if last:
                        observe_gap(now - last)
                    elif self._first is None:
                        self._note_first(chunk, now)
                    last = now
                    self._note(chunk)
                    yield chunk
        except InvalidRequest as error:
            raise InvalidRequestError(str(error)) from error
        except EngineDeadError as error:
            raise EngineDownError("the inference engine has died; the server is restarting") from error
        except EngineError as error:
            raise UnavailableError(str(error), code="engine_error") from error

    def _note_first(self, chunk: Chunk, now: float) -> None:
        self._first = now
        self.cached_tokens = chunk.cached_tokens
        metrics = self._turns.metrics
        metrics.ttft.observe(now - self._started)
        metrics.waiting.dec()
        metrics.running.inc()

    def _note(self, chunk: Chunk) -> None:
        choice = self.choices[chunk.index]
        choice.text.append(chunk.text)
        choice.token_ids.extend(chunk.token_ids)
        if chunk.logprobs:
            choice.logprobs.extend(chunk.logprobs)
        if chunk.finish_reason is not None:
            choice.finish_reason = chunk.finish_reason

    @property
    def completion_tokens(self) -> int:
        return sum(len(choice.token_ids) for choice in self.choices)

    async def __aenter__(self) -> Self:
        self._turns.enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit what was spoken, or give the session back, whatever happens to the client's connection."""
        with anyio.CancelScope(shield=True):
            try:
                if self.write is not None:
                    await self._commit(self.write)
            finally:
                self._turns.leave(self, waited=self._first is None)
                self._log(error)

    async def _commit(self, write: SessionWrite) -> None:
        choice = self.choices[0]
        if not choice.content:
            # Giving back is a courtesy: the lease runs out by itself, and an error of the turn's own is worth more.
            with suppress(UnavailableError):
                await self._turns.sessions.release(write.session.id, write.lease)
            return
        reply = Message(
            id=write.message_id,
            parent=write.parent,
            role="assistant",
            content=write.prefill + choice.content,
            token_ids=[*write.prefill_ids, *self._turns.content_ids(choice)],
            finish_reason=_stored(choice.finish_reason),
        )
        session = await self._turns.sessions.commit(
            write.session, [*write.added, reply], tip=reply.id, window=write.window, lease=write.lease
        )
        self.version = session.version
        self._turns.metrics.commits.inc()

    def _log(self, error: BaseException | None) -> None:
        now = time.perf_counter()
        metrics = self._turns.metrics
        reason = self.choices[0].finish_reason or ("error" if isinstance(error, ApiError) else "interrupted")
        metrics.requests.labels(self._endpoint, reason).inc()
        if self._first is None:
            return
        metrics.request.observe(now - self._started)
        metrics.prompt_tokens.inc(self.prompt_tokens)
        metrics.cached_tokens.inc(self.cached_tokens)
        metrics.completion_tokens.inc(self.completion_tokens)
        logger.info(
            "%s %s session=%s prompt=%d cached=%d completion=%d ttft=%.0fms total=%.0fms %s",
            self._endpoint,
            self.id,
            self.write.session.id if self.write else "-",
            self.prompt_tokens,
            self.cached_tokens,
            self.completion_tokens,
            (self._first - self._started) * 1000,
            (now - self._started) * 1000,
            reason,
        )


class Turns:
    """Begins turns on one engine and one store, and keeps the leases of those that run."""

    def __init__(
        self,
        engine: Engine,
        sessions: SessionStore,
        metrics: Metrics,
        *,
        reply_tokens: int,
        max_running: int,
        stream_interval: int | None = None,
    ) -> None:
        self.engine = engine
        self.sessions = sessions
        self.metrics = metrics
        self._reply_tokens = min(reply_tokens, engine.max_model_len // 4)
        self._max_running = max_running
        self._stream_interval = stream_interval
        self._running: set[Turn] = set()
        self._stop_ids = frozenset(engine.renderer.stop_token_ids)

    async def reply(
        self, session_id: str, content: str, params: SamplingParams, *, prefill: str = "", endpoint: str = "sessions"
    ) -> Turn:
        """Answer a message of the user's; with `prefill`, go on from those words of the character's."""

        def plan(session: Session) -> tuple[list[Message], str]:
            said = Message(new_id("msg"), session.tip, "user", content, self.engine.renderer.encode(content.strip()))
            return [said], said.id

        return await self._begin(session_id, plan, params, endpoint, prefill)

    async def regenerate(self, session_id: str, params: SamplingParams) -> Turn:
        """Another reply beside the last one, which is kept as its sibling."""

        def plan(session: Session) -> tuple[list[Message], str]:
            _, answered = session.last_reply()
            return [], answered.id

        return await self._begin(session_id, plan, params, "regenerate", "")

    async def complete(
        self,
        head: Sequence[int],
        turns: Sequence[RenderedTurn],
        tail: Sequence[int],
        params: SamplingParams,
        *,
        cut: bool,
        endpoint: str = "chat.completions",
    ) -> Turn:
        """Answer a conversation that the client keeps; `cut` shortens one that doesn't fit instead of refusing it."""
        self._admit()
        prompt, _, params = self._prompt(head, turns, tail, params, start=0, cut=cut)
        return Turn(self, prompt, params, endpoint)

    def check_head(self, head: Sequence[int]) -> None:
        """Raise ContextLengthError when a character's head alone leaves no room for a conversation."""
        self._prompt(head, [], [], SamplingParams(), start=0, cut=True)

    async def _begin(
        self,
        session_id: str,
        plan: Plan,
        params: SamplingParams,
        endpoint: str,
        prefill: str,
    ) -> Turn:
        self._admit()
        if params.n != 1:
            raise InvalidRequestError("a session's turn has one reply: `n` must be 1", param="n")
        lease = new_id("lease")
        session = await self.sessions.acquire(session_id, lease)
        try:
            renderer = self.engine.renderer
            session = session.under(renderer)
            added, parent = plan(session)
            prefill_ids = renderer.encode(prefill) if prefill else []
            history = [*session.branch(None if added else parent), *added]
            turns = as_turns(history) + ([RenderedTurn("assistant", prefill_ids)] if prefill else [])
            ids = [message.id for message in history]
            start = ids.index(session.window) if session.window in ids else 0
            tail = renderer.encode(session.tail()) if session.tail() else []
            params = params if params.max_tokens else replace(params, max_tokens=self._reply_tokens)
            prompt, start, params = self._prompt(session.head, turns, tail, params, start=start, cut=True)
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(UnavailableError):
                await self.sessions.release(session_id, lease)
            raise
        window = ids[start] if start else None
        write = SessionWrite(session, lease, added, parent, window, new_id("msg"), prefill, prefill_ids)
        return Turn(self, prompt, params, endpoint, write)

    def _prompt(
        self,
        head: Sequence[int],
        turns: Sequence[RenderedTurn],
        tail: Sequence[int],
        params: SamplingParams,
        *,
        start: int,
        cut: bool,
    ) -> tuple[list[int], int, SamplingParams]:
        context = self.engine.max_model_len
        # Room for the reply; a request that asks for more than half of the context gets what is left.
        reply = min(params.max_tokens or self._reply_tokens, context // 2) if cut else 1
        try:
            prompt = build_prompt(
                self.engine.renderer, head, turns, tail=tail, limit_tokens=context - reply, start=start, cut=cut
            )
        except PromptTooLong as error:
            raise ContextLengthError(str(error), param="messages") from error
        except RenderError as error:
            raise InvalidRequestError(str(error), param="messages") from error
        room = context - len(prompt.token_ids)
        longest = min(params.max_tokens or room, room)
        params = replace(params, max_tokens=longest, stream_interval=self._stream_interval or self._interval())
        return prompt.token_ids, prompt.start, params

    def _interval(self) -> int:
        """Tokens a frame: the more streams, the more of a core each frame takes and the less one token shows."""
        running = len(self._running)
        return 1 if running < PAIRS_FROM else 2 if running < FOURS_FROM else 4

    def _admit(self) -> None:
        if self.engine.error() is not None:
            raise EngineDownError("the inference engine has died; the server is restarting")
        if len(self._running) >= self._max_running:
            raise UnavailableError(f"{self._max_running} requests are running: try again", code="overloaded")

    def enter(self, turn: Turn) -> None:
        self._running.add(turn)
        self.metrics.waiting.inc()

    def leave(self, turn: Turn, *, waited: bool) -> None:
        self._running.discard(turn)
        (self.metrics.waiting if waited else self.metrics.running).dec()

    def content_ids(self, choice: Choice) -> Sequence[int]:
        """The ids that stand for a reply from now on: those generated, less the stop token.

        Where they say more than the client was sent (a stop string, a word cut by a disconnect, a special token that
        `ignore_eos` went past), its text is encoded.
        """
        ids = choice.token_ids[:-1] if choice.token_ids[-1] in self._stop_ids else choice.token_ids
        renderer = self.engine.renderer
        return ids if renderer.decode(ids) == choice.content else renderer.encode(choice.content)

    async def keep_leases(self, every_s: float) -> None:
        """Renew the lease of every running turn, for ever."""
        while True:
            await asyncio.sleep(every_s)
            for turn in list(self._running):
                if turn.write is not None:
                    with suppress(UnavailableError):
                        await self.sessions.renew(turn.write.session.id, turn.write.lease)

    async def drain(self, timeout_s: float) -> None:
        """Wait until no turn runs, so that all of them are committed."""
        with anyio.move_on_after(timeout_s):
            while self._running:
                await asyncio.sleep(0.02)


def _stored(finish_reason: str | None) -> FinishReason:
    return "stop" if finish_reason == "stop" else "length" if finish_reason == "length" else "interrupted"
