"""A turn as it runs: stream → commit. `app.sessions.turns` begins it.

It streams chunks, and leaving its `async with` commits: the whole reply, or the part that was spoken, marked as
interrupted; a turn that said nothing leaves no trace. Both sides of an exchange are written in one step, so no failure
can leave half of it.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio

from app.errors import ApiError, EngineDownError, InvalidRequestError, TurnCancelledError, UnavailableError
from app.sessions.afterwards import Spent
from app.sessions.beginning import NO_WORDS, Beginning
from app.sessions.choice import Choice, SessionWrite
from app.sessions.ids import new_id
from app.sessions.interruption import Interruption
from app.sessions.introduction import Introduction
from app.sessions.message import Message
from app.sessions.receipts import Receipt
from models.engine import Adapter, Chunk, EngineDeadError, EngineError, InvalidRequest, SamplingParams

if TYPE_CHECKING:
    from app.sessions.fidelity import Chooser
    from app.sessions.turns import Turns

logger = logging.getLogger(__name__)


class RunningTurn:
    """One generation, with or without a session. Use: `async with turn: async for chunk in turn.stream(): …`."""

    def __init__(
        self,
        turns: "Turns",
        prompt: list[int],
        params: SamplingParams,
        endpoint: str,
        started: float,
        write: SessionWrite | None = None,
        *,
        beginning: Beginning = NO_WORDS,
        introduction: Introduction | None = None,
        adapter: Adapter | None = None,
        chooser: "Chooser | None" = None,
    ) -> None:
        self.id = new_id("chatcmpl")
        self.choices = [Choice() for _ in range(params.n)]
        # So many of them are told, the first ones; the others are written alone.
        self.told = 1 if chooser else params.n
        self.chooser = chooser
        self.prompt_tokens = len(prompt)
        self.cached_tokens = 0
        self.write = write
        self.version: int | None = None
        # Whether what was spoken is stored, or may be: Redis can have written what it gave no answer to.
        self.may_be_stored = False
        self.written: Sequence[Message] = ()
        # What is done at the end with a reply that no session keeps. It raises nothing.
        self.keep: Callable[[RunningTurn], Awaitable[None]] | None = None
        self._turns = turns
        self._prompt = prompt
        self._params = params
        self._endpoint = endpoint
        self._started = started
        self._first: float | None = None
        self._beginning = beginning
        self._introduction = introduction
        self._adapter = adapter
        self.stopped = False
        self._interruption = Interruption()

    def stop(self) -> None:
        """End the reply with what was spoken so far, which is committed. Done twice, it is done once."""
        self.stopped = True
        self._interruption.cut_off()

    async def stream(self) -> AsyncGenerator[Chunk]:
        """The reply's chunks, to its end or until `stop`. Raises ApiError, also before the first one.

        Closing it stops the engine.
        """
        metrics = self._turns.metrics
        observe_gap = metrics.itl.observe
        last = 0.0
        if self.stopped:
            return
        try:
            with _engine_errors():
                async with aclosing(self._chunks()) as chunks:
                    with self._interruption.reaches_here():
                        async for chunk in chunks:
                            if chunk.index >= self.told:
                                self._note(chunk)
                                continue
                            now = time.perf_counter()
                            if last:
                                observe_gap(now - last)
                            elif self._first is None:
                                self._note_first(chunk, now)
                            last = now
                            self._note(chunk)
                            yield chunk
        except asyncio.CancelledError:
            if not self._interruption.was_caught():
                raise

    def _chunks(self) -> AsyncGenerator[Chunk]:
        """What the engine says as it is told: from a scene's first word on, behind lore's, or of the best alone."""
        if self._introduction:
            chunks = self._introduction.lead(self._generate, self._params)
        else:
            chunks = self._generate(self._params)
        if self._beginning.text:
            chunks = self._beginning.lead(chunks)
        return self.chooser.choose(chunks, len(self.choices)) if self.chooser else chunks

    def _generate(self, params: SamplingParams, attempt: str = "") -> AsyncGenerator[Chunk]:
        request_id = self.id + attempt
        return self._turns.engine.generate(self._prompt, params, request_id=request_id, adapter=self._adapter)

    def _note_first(self, chunk: Chunk, now: float) -> None:
        self._first = now
        self.cached_tokens = chunk.cached_tokens
        metrics = self._turns.metrics
        metrics.ttft.observe(now - self._started)
        metrics.waiting.dec()
        metrics.running.inc()

    def _note(self, chunk: Chunk) -> None:
        self.choices[chunk.index].hear(chunk)

    def outcome(self) -> list[tuple[Message, Choice]]:
        """What was written, with the choice that it came of; where nothing more was to be said, what there was."""
        kept = [choice for choice in self.choices if self.write and self.write.is_worth_keeping(choice)]
        return list(zip(self.written, kept or self.choices, strict=False))

    @property
    def completion_tokens(self) -> int:
        begun = len(self._beginning.token_ids)
        return sum(max(0, len(choice.token_ids) - begun) for choice in self.choices)

    async def __aenter__(self) -> Self:
        self._turns.running.enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit what was spoken, or give the session back, whatever happens to the client's connection."""
        unheard = isinstance(error, asyncio.CancelledError) and self._interruption.was_caught()
        with anyio.CancelScope(shield=True):
            try:
                if self.write is not None:
                    await self._commit(self.write)
                elif self.keep is not None:
                    await self.keep(self)
            finally:
                self._turns.running.leave(self, waited=self._first is None)
                self._log(error)
        unspoken = self.stopped and self.write is not None and not self.written and error is None
        if unheard or unspoken:
            told = "what was said is kept" if self.written else "nothing was said"
            raise TurnCancelledError(f"the turn was cancelled: {told}") from None

    async def _commit(self, write: SessionWrite) -> None:
        choices = self.choices
        if not any(map(write.is_worth_keeping, choices)):
            # Giving back is a courtesy: the lease runs out by itself, and an error of the turn's own is worth more.
            with suppress(UnavailableError):
                await self._turns.sessions.release(write.session.id, write.turn_id)
            if choices[0].finish_reason is not None:
                self.version, self.written = write.session.version, write.session.branch()[-1:]
            return
        written = [
            write.message(index, choice, self._turns.prompts.content_ids(choice))
            for index, choice in enumerate(choices)
            if write.is_worth_keeping(choice)
        ]
        self.may_be_stored = True
        session = await self._turns.sessions.commit(
            write.session,
            [*write.plan.added, *written],
            tip=written[0].id,
            window=write.window,
            lease=write.turn_id,
            receipt=self._build_receipt(write, [message.id for message in written]),
        )
        self.written = written
        self.version = session.version
        self._turns.metrics.commits.inc()
        spent = Spent(self.prompt_tokens, self._turns.prompts.limit_tokens(self._params))
        self._turns.afterwards.committed(write.session, session, spent)

    def _build_receipt(self, write: SessionWrite, message_ids: Sequence[str]) -> Receipt | None:
        """What an operation that has a name is told by when it is done again."""
        if write.operation is None:
            return None
        return Receipt(
            write.operation,
            write.turn_id,
            write.session.version + 1,
            message_ids[0],
            message_ids,
            begun=len(write.plan.prefill),
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=self.completion_tokens,
        )

    def _log(self, error: BaseException | None) -> None:
        now = time.perf_counter()
        metrics = self._turns.metrics
        otherwise = "error" if isinstance(error, ApiError) else "cancelled" if self.stopped else "interrupted"
        reason = self.choices[0].finish_reason or otherwise
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


@contextmanager
def _engine_errors() -> Iterator[None]:
    """What the engine raises becomes an ApiError."""
    try:
        yield
    except InvalidRequest as error:
        raise InvalidRequestError(str(error)) from error
    except EngineDeadError as error:
        raise EngineDownError("the inference engine has died, and the server stops") from error
    except EngineError as error:
        raise UnavailableError(str(error), code="engine_error") from error
