"""Beginning a turn: everything that can still be an HTTP status, before the first byte is sent.

`reply`, `regenerate`, `continue_` and `impersonate` are short entries to one begin: lease the session, plan what is
added, build the prompt from stored ids, admit. `answer` and `complete` do without a session. What comes back is a
`RunningTurn`, which streams and commits.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import lru_cache, partial
from hashlib import blake2b
from typing import Any

import anyio
import anyio.to_thread

from app.errors import (
    ContextLengthError,
    EngineDownError,
    InvalidRequestError,
    UnavailableError,
    quoted,
)
from app.metrics import Metrics
from app.sessions.afterwards import Afterwards
from app.sessions.beginning import NO_WORDS, Beginning
from app.sessions.bounds import BoundedRenderer
from app.sessions.choice import Choice, SessionWrite
from app.sessions.direction import Direction
from app.sessions.fidelity import Chooser
from app.sessions.introduction import Introduction, build_introduction
from app.sessions.lore import Books, Lore, build_chat
from app.sessions.memory import Memory
from app.sessions.plans import Plan, plan_another, plan_continuation, plan_impersonation, plan_next, plan_reply
from app.sessions.preparation import Preparation, Setup, loses_lore
from app.sessions.queue import Queue
from app.sessions.recalled import RecalledTurn
from app.sessions.receipts import DoneBefore, Receipt, current_operation
from app.sessions.reconciliation import Aside, Shown, as_written, plan_transcript
from app.sessions.running import Running
from app.sessions.session import Session, new_id
from app.sessions.shelf import Shelf
from app.sessions.state import build_state, known_of
from app.sessions.terms import Terms
from app.sessions.tree import Change, check_room
from app.sessions.turn import RunningTurn
from app.sessions.voices import Voices, read_voice, turn_voice
from app.sessions.window import cut_by, find_start, planned_cut, recap_of
from app.store.characters import CharacterStore
from app.store.sessions import SessionStore
from characters.calls import Context
from models.engine import Engine, SamplingParams
from models.evaluation.fidelity import MOST_TURNS, Judge, Moment
from models.examples import Line
from models.prompt import Prompt, PromptTooLong, build_prompt
from models.renderer import RenderError, Turn
from models.scene import Scene
from models.sections import build_head, build_insertions, build_recap
from models.stage import stops
from models.transcript import NONE_KNOWN, Known, build_transcript_prompt
from models.trials import Trials

SCHEMA_CHECK_S = 5.0


class Turns:
    """Begins turns on one engine and one store."""

    def __init__(
        self,
        engine: Engine,
        sessions: SessionStore,
        metrics: Metrics,
        running: Running,
        *,
        characters: CharacterStore,
        shelf: Shelf,
        afterwards: Afterwards,
        queue: Queue,
        voices: Voices,
        judge: Judge,
        memory: Memory | None = None,
        reply_tokens: int,
    ) -> None:
        self.engine = engine
        self.renderer = BoundedRenderer(engine.renderer, engine.max_model_len)
        self.lore = Lore(self.renderer.count_tokens, engine.max_model_len)
        self.direction = Direction(self)
        self.preparation = Preparation(
            self.renderer,
            self.lore,
            characters,
            shelf,
            engine.max_model_len,
            memory,
            model_id=engine.model_id,
        )
        self.sessions = sessions
        self.metrics = metrics
        self.running = running
        self.afterwards = afterwards
        self.queue = queue
        self.voices = voices
        self.judge = judge
        self._reply_tokens = min(reply_tokens, engine.max_model_len // 4)
        self._stop_ids = frozenset(engine.renderer.stop_token_ids)
        # A schema of ten thousand parts is seconds of Python, so they take turns beside the event loop.
        self.checks = Trials(1, SCHEMA_CHECK_S)
        # The same few heads come with every request that has no session, thousands of tokens each; so do most tails.
        self.encode_fixed = lru_cache(maxsize=512)(self.renderer.encode)

    async def reply(
        self,
        session_id: str,
        content: str,
        params: SamplingParams,
        terms: Terms = Terms(),
        *,
        speaker: str | None = None,
        to: Sequence[str] = (),
    ) -> RunningTurn:
        """Answer a message of the user's. Of a cast `speaker` names who answers, and `to` those who hear both."""
        plan = partial(plan_reply, content=content, encode=self.renderer.encode, speaker=speaker, to=to)
        return await self._begin(session_id, plan, params, "sessions", terms)

    async def follow(
        self,
        session_id: str,
        lines: Sequence[Line],
        params: SamplingParams,
        *,
        character_id: str | None = None,
        system: Sequence[str] = (),
        whole: bool = False,
        shown: Shown = as_written,
        terms: Terms = Terms(),
    ) -> RunningTurn:
        """Answer a transcript that its client keeps, of which the session's tree gets what is new.

        `character_id` must be the session's where it is given. `system` are all instructions that the client sends by
        now: those that the session didn't begin with stand in the tail. The rest as of `plan_transcript`, which raises
        Aside.
        """

        def plan(session: Session) -> Plan:
            speaker = character_id if session.member(character_id) else None
            if speaker is None and character_id not in (None, session.character_id):
                if whole:
                    raise Aside("character")
                raise InvalidRequestError(
                    f"the session {quoted(session_id)} is with {session.character_id!r}, not {character_id!r}",
                    param="model",
                )
            planned = plan_transcript(session, lines, self.renderer.encode, system=system, whole=whole, shown=shown)
            return replace(planned, speaker=planned.speaker or speaker)

        if lines[-1].role == "assistant":
            params = _going_on(params)
        return await self._begin(session_id, plan, params, "chat.completions", terms)

    async def regenerate(
        self, session_id: str, params: SamplingParams, terms: Terms = Terms(), *, speaker: str | None = None
    ) -> RunningTurn:
        """Another reply beside the last one, which is kept as its sibling."""
        return await self._begin(session_id, partial(plan_another, speaker=speaker), params, "regenerate", terms)

    async def speak(
        self, session_id: str, params: SamplingParams, terms: Terms = Terms(), *, speaker: str | None = None
    ) -> RunningTurn:
        """What a character says next, without a word of the user's. Raises UsersTurn when nobody would."""
        return await self._begin(session_id, partial(plan_next, speaker=speaker), params, "auto", terms)

    async def continue_(self, session_id: str, params: SamplingParams, terms: Terms = Terms()) -> RunningTurn:
        """The last reply, going on with the token after its last one, as a sibling of it."""
        return await self._begin(session_id, plan_continuation, _going_on(params), "continue", terms)

    async def impersonate(
        self, session_id: str, params: SamplingParams, *, begun: str = "", terms: Terms = Terms()
    ) -> RunningTurn:
        """The user's next line, written by the model, which may go on from what the user has `begun`."""
        plan = partial(plan_impersonation, encode=self.renderer.encode, begun=begun)
        return await self._begin(session_id, plan, params, "impersonate", terms)

    async def complete(
        self, turns: Sequence[Turn], params: SamplingParams, *, endpoint: str = "chat.completions"
    ) -> RunningTurn:
        """Answer a conversation as it is. Raises ContextLengthError when it doesn't fit."""
        started = time.perf_counter()
        self._admit()
        build = partial(build_prompt, self.engine.renderer, [], turns, cut=False)
        prompt, params = self._build(build, params, reply_tokens=1)
        return RunningTurn(self, prompt.token_ids, params, endpoint, started)

    async def answer(
        self,
        scene: Scene,
        lines: Sequence[Line],
        params: SamplingParams,
        books: Books = (),
        *,
        known: Known = NONE_KNOWN,
        chooses: bool = False,
    ) -> RunningTurn:
        """Answer a transcript that the client keeps, in `scene`; what is too old for the context is left out.

        `books` are the lorebooks beside the card's own, `known` the ids of lines by their places. Lore may begin the
        reply; where the client has begun it, that wins. Where it `chooses`, the truest of `params.n` replies is told.
        """
        started = time.perf_counter()
        self._admit()
        adapter = await self.voices.find(read_voice(scene.card))
        renderer = self.renderer
        said = [(line.role, line.text) for line in lines]
        # A transcript has no name: its first line and its length decide what chance says, in its head the line alone.
        seed = blake2b(lines[0].text.encode(), digest_size=16).hexdigest()
        model = {"model": self.engine.model_id}
        begun = Context(seed=seed, chat=seed, now=datetime.now().astimezone(), known=model)
        known_now = model | known_of(said)
        now = replace(begun, seed=f"{seed}/{len(lines)}", known=known_now, variables={}, global_variables={})
        told = await self.lore.tell(
            scene.card, scene.user, books, build_chat(scene.card, scene.user, said), context=now
        )
        # Nothing is kept of a client's transcript, so nothing can be frozen into it.
        told = told.thawed("")
        scene = replace(scene, lore=told.blocks, disabled=told.disabled)
        inserted = build_insertions(renderer.encode, replace(scene, context=replace(now, outlets=told.outlets)))
        head = build_head(self.encode_fixed, replace(scene, context=replace(begun, outlets=told.outlets)))
        params = replace(params, ends_loops=True)
        words = NO_WORDS
        if told.begun and lines[-1].role != "assistant" and params.constraint is None:
            words = Beginning(told.begun, renderer.encode(told.begun))
            lines, params = [*lines, Line("assistant", words.text)], _going_on(params)
        build = partial(build_transcript_prompt, renderer, head, lines, inserted=inserted, known=known)
        prompt, room = self._build(build, params)
        chooser = None
        if chooses:
            places = range(max(0, len(lines) - MOST_TURNS), len(lines))
            turns = [
                Turn(lines[place].role, known.get(place) or renderer.encode(lines[place].text)) for place in places
            ]
            chooser, room = self._choosing(Moment(scene.card, scene.user, turns, adapter), words, room)
        return RunningTurn(
            self,
            prompt.token_ids,
            room,
            "chat.completions",
            started,
            beginning=words,
            adapter=adapter,
            chooser=chooser,
        )

    def check_length(self, *texts: str) -> None:
        """Raise ContextLengthError for texts that no prompt could hold, before a second is spent on their tokens."""
        self.renderer.check_length(*texts)

    def check_opening(
        self, session: Session, params: SamplingParams = SamplingParams(), said: str = "", system: Sequence[str] = ()
    ) -> None:
        """Raise ContextLengthError when a session that isn't written yet has no room for a conversation, or for `said`.

        Arguments as of `reply`.
        """
        renderer = self.renderer
        turns = [Turn("user", renderer.encode(said.strip()))] if said else []
        scene = replace(session.scene(), instructions=session.instructions(system))
        inserted = build_insertions(renderer.encode, scene)
        self._build(partial(build_prompt, renderer, session.head, turns, inserted=inserted), params)

    async def change(self, session_id: str, make_changes: Callable[[Session], Awaitable[dict[str, Any]]]) -> Session:
        """Change fields of a session between two turns, and write its head anew. Raises SessionBusyError in one."""
        async with self._taken(session_id) as (session, turn_id):
            changed = replace(session, **await make_changes(session))
            changed = await self.preparation.with_head(changed)
            self.check_opening(changed)
            changed = await self.sessions.commit(changed, [], tip=changed.tip, window=changed.window, lease=turn_id)
            self.afterwards.changed(changed)
            return changed

    async def rearrange(
        self, session_id: str, make_change: Callable[[Session], Change], terms: Terms = Terms()
    ) -> tuple[Session, str]:
        """Change the session's tree between two turns; returns it and the turn's id. Raises SessionBusyError in one."""
        try:
            async with self._taken(session_id, terms) as (session, turn_id):
                change = await anyio.to_thread.run_sync(make_change, session)
                return await self._rearrange(session, turn_id, change), turn_id
        except DoneBefore as done:
            session, receipt = await self.sessions.get(session_id), done.receipt
            return replace(session, version=receipt.version, tip=receipt.tip), receipt.turn_id

    async def _rearrange(self, session: Session, turn_id: str, change: Change) -> Session:
        if change.checkpoints is not None:
            session = replace(session, checkpoints=change.checkpoints).rewritten()
        operation = current_operation()
        changed = await self.sessions.commit(
            session,
            change.added,
            tip=change.tip,
            window=change.window,
            lease=turn_id,
            undo=change.undo,
            receipt=Receipt(operation, turn_id, session.version + 1, change.tip) if operation else None,
        )
        self.afterwards.changed(changed)
        return changed

    @asynccontextmanager
    async def _taken(self, session_id: str, terms: Terms = Terms()) -> AsyncIterator[tuple[Session, str]]:
        """The session under a lease, given back when the body fails; else whatever commits gives it back.

        Raises DoneBefore when the current operation was done by an earlier attempt.
        """
        operation, turn_id = current_operation(), new_id("turn")
        await self.sessions.check_undone(session_id, operation)
        self.afterwards.overtake(session_id)
        session = await self.queue.take(session_id, turn_id, terms)
        try:
            # That attempt may have ended just now; from here on it can't commit any more.
            await self.sessions.check_undone(session_id, operation)
            terms.check(session)
            # A director, or a voice that is loaded, may take longer than a lease.
            with self.running.holding(session_id, turn_id):
                yield await self.preparation.renew(session), turn_id
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(UnavailableError):
                await self.sessions.release(session_id, turn_id)
            raise

    async def _begin(
        self,
        session_id: str,
        make_plan: Callable[[Session], Plan],
        params: SamplingParams,
        endpoint: str,
        terms: Terms,
    ) -> RunningTurn:
        started = time.perf_counter()
        self._admit()
        try:
            async with self._taken(session_id, terms) as (session, turn_id):
                # A transcript may be new from its first line on, and all of it must be encoded.
                plan = await self.direction.cast(session, await anyio.to_thread.run_sync(make_plan, session))
                adapter = await self.voices.find(turn_voice(session, plan.role, plan.speaker))
                params = replace(
                    params,
                    max_tokens=params.max_tokens or self._reply_tokens,
                    ends_loops=True,
                    stop=(*params.stop, *stops(session.names())),
                )
                setup, prompt, params = await self._settle(session, plan, params)
                check_room(session, len(setup.plan.added) + params.n)
        except DoneBefore as done:
            told = 1 if terms.chooses else None
            return RecalledTurn(self, await self.sessions.get(session_id), done.receipt, endpoint, told=told)
        cut, window = cut_by(session, setup.history, prompt)
        if prompt.start > find_start(session, setup.history):
            self.metrics.cuts.labels("planned" if prompt.as_planned else "unplanned").inc()
        state = build_state(setup.told.state, setup.scene.context)
        ids = [new_id("msg") for _ in range(params.n)]
        write = SessionWrite(cut, turn_id, setup.plan, window, ids, state, operation=current_operation())
        chooser = None
        if terms.chooses:
            turns = self._turns(session, setup, setup.plan.prefill_ids)
            moment = Moment(setup.scene.card, session.user, turns, adapter)
            chooser, params = self._choosing(moment, setup.beginning, params)
        return RunningTurn(
            self,
            prompt.token_ids,
            params,
            endpoint,
            started,
            write,
            beginning=setup.beginning,
            introduction=self._introduce(session, setup) if params.constraint is None else None,
            adapter=adapter,
            chooser=chooser,
        )

    def _introduce(self, session: Session, setup: Setup) -> Introduction | None:
        """How the line of a scene may begin; None where it has begun, or where a single character talks."""
        plan = setup.plan
        if not session.cast or plan.prefill_ids or setup.beginning.text:
            return None
        member = session.member(plan.speaker)
        speaker = session.user.name if plan.role == "user" or not member else member.name
        return build_introduction(speaker, session.names(), self.renderer.encode)

    def _choosing(self, moment: Moment, beginning: Beginning, params: SamplingParams) -> tuple[Chooser, SamplingParams]:
        """Who chooses the reply, and the sampling of candidates, whose logprobs are needed for that."""
        chooser = Chooser(
            self.judge,
            moment,
            self.metrics,
            stop_ids=self._stop_ids,
            begun=len(beginning.token_ids),
            wants_logprobs=params.logprobs is not None,
        )
        return chooser, replace(params, logprobs=params.logprobs or 0)

    async def _settle(
        self, session: Session, plan: Plan, params: SamplingParams
    ) -> tuple[Setup, Prompt, SamplingParams]:
        """The turn of `plan`, laid out. Lore that is cut from the history can be told on this very turn."""
        setup = await self.preparation.prepare(session, plan, begins=params.constraint is None)
        if setup.beginning.text:
            params = _going_on(params)
        prompt, room = self.lay_out(session, setup, params, setup.plan.prefill_ids)
        if loses_lore(setup, prompt.start):
            setup = await self.preparation.prepare(session, plan, start=prompt.start, begins=params.constraint is None)
            prompt, room = self.lay_out(session, setup, params, setup.plan.prefill_ids)
        return setup, prompt, room

    def lay_out(
        self,
        session: Session,
        setup: Setup,
        params: SamplingParams = SamplingParams(),
        prefill_ids: Sequence[int] = (),
    ) -> tuple[Prompt, SamplingParams]:
        """The turn's prompt, and its sampling with the room that is left. Raises ContextLengthError."""
        encode, scene = self.renderer.encode, setup.scene
        turns = self._turns(session, setup, prefill_ids)
        head = session.head if scene.layout == "cache" else build_head(encode, setup.head_scene(session))
        build = partial(
            build_prompt,
            self.renderer,
            [*head, *build_recap(self.encode_fixed, recap_of(session, setup.history))],
            turns,
            inserted=build_insertions(self.encode_fixed, scene),
            start=find_start(session, setup.history),
            planned=planned_cut(session, setup.history, head, self.encode_fixed),
        )
        return self._build(build, params)

    def _turns(self, session: Session, setup: Setup, prefill_ids: Sequence[int]) -> list[Turn]:
        """The history, and the beginning of the reply where it has one."""
        heading = self.renderer.encode(session.heading(setup.plan.role, setup.plan.speaker))
        begun = [*heading, *prefill_ids, *setup.beginning.token_ids]
        said = session.as_turns(setup.history, self.encode_fixed)
        # What is said next is a turn of its own, though nothing of it is there: an open one would be gone on with.
        return [*said, Turn("assistant", begun)] if begun or (said and said[-1].role == "assistant") else said

    def _build(
        self, build: Callable[..., Prompt], params: SamplingParams, *, reply_tokens: int | None = None
    ) -> tuple[Prompt, SamplingParams]:
        """The prompt of at most `limit_tokens`, which `build` gets, and the reply's length beside it."""
        context = self.engine.max_model_len
        try:
            prompt = build(limit_tokens=context - reply_tokens if reply_tokens else self.limit_tokens(params))
        except PromptTooLong as error:
            raise ContextLengthError(str(error), param="messages") from error
        except RenderError as error:
            raise InvalidRequestError(str(error), param="messages") from error
        room = context - len(prompt.token_ids)
        longest = min(params.max_tokens or room, room)
        return prompt, replace(params, max_tokens=longest, stream_interval=self.running.stream_interval())

    def limit_tokens(self, params: SamplingParams) -> int:
        """How many tokens a prompt may have beside its reply."""
        context = self.engine.max_model_len
        # A request that asks for more than half of the context gets what is left.
        return context - min(params.max_tokens or self._reply_tokens, context // 2)

    def _admit(self) -> None:
        if self.engine.error() is not None:
            raise EngineDownError("the inference engine has died, and the server stops")
        self.running.admit()

    def content_ids(self, choice: Choice) -> Sequence[int]:
        """The ids that stand for a reply from now on: those generated, less the stop token.

        Where they say more than the client was sent (a stop string, a word cut by a disconnect, a special token that
        `ignore_eos` went past), its text is encoded.
        """
        ids = choice.token_ids
        if ids and ids[-1] in self._stop_ids:
            ids = ids[:-1]
        renderer = self.engine.renderer
        return ids if renderer.decode(ids) == choice.content else renderer.encode(choice.content)


def _going_on(params: SamplingParams) -> SamplingParams:
    """For a reply that is continued: its end may have been a stop token, which would follow again at once."""
    return replace(params, min_tokens=max(params.min_tokens, 1))
