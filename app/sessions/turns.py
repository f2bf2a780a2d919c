"""Beginning a turn: everything that can still be an HTTP status, before the first byte is sent.

`reply`, `regenerate`, `continue_` and `impersonate` are short entries to one begin: lease the session, plan what is
added, build the prompt from stored ids, admit. What comes back is a `RunningTurn`, which streams and commits. Turns
without a session are begun in `app.sessions.stateless`.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import anyio.to_thread

from app.errors import EngineDownError, InvalidRequestError, quoted
from app.metrics import Metrics
from app.sessions.afterwards import Afterwards
from app.sessions.beginning import going_on
from app.sessions.bounds import BoundedRenderer
from app.sessions.choice import SessionWrite
from app.sessions.direction import Direction
from app.sessions.fidelity import Choosing
from app.sessions.ids import new_id
from app.sessions.leases import Leases
from app.sessions.lore import Lore
from app.sessions.memory import Memory
from app.sessions.plans import Plan, plan_another, plan_continuation, plan_impersonation, plan_next, plan_reply
from app.sessions.preparation import Preparation, Setup, loses_lore
from app.sessions.prompts import Prompts
from app.sessions.queue import Queue
from app.sessions.recalled import RecalledTurn
from app.sessions.receipts import DoneBefore, Receipt, current_operation
from app.sessions.reconciliation import Aside, Shown, as_written, plan_transcript
from app.sessions.running import Running
from app.sessions.session import Session
from app.sessions.shelf import Shelf
from app.sessions.state import build_state
from app.sessions.stateless import Stateless
from app.sessions.terms import Terms
from app.sessions.tree import Change, check_room
from app.sessions.turn import RunningTurn
from app.sessions.voices import Voices, turn_voice
from app.sessions.window import cut_by, find_start
from app.store.characters import CharacterStore
from app.store.sessions import SessionStore
from models.engine import Engine, SamplingParams
from models.evaluation.fidelity import Judge, Moment
from models.examples import Line
from models.prompt import Prompt
from models.stage import stops
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
        self.prompts = Prompts(engine, self.renderer, running, reply_tokens)
        self.lore = Lore(self.renderer.count_tokens, engine.max_model_len)
        self.direction = Direction(engine, self.prompts)
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
        self.leases = Leases(sessions, queue, running, afterwards, self.preparation)
        self.voices = voices
        self.choosing = Choosing(judge, metrics, frozenset(engine.renderer.stop_token_ids))
        self.stateless = Stateless(self)
        # A schema of ten thousand parts is seconds of Python, so they take turns beside the event loop.
        self.checks = Trials(1, SCHEMA_CHECK_S)

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
            params = going_on(params)
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
        return await self._begin(session_id, plan_continuation, going_on(params), "continue", terms)

    async def impersonate(
        self, session_id: str, params: SamplingParams, *, begun: str = "", terms: Terms = Terms()
    ) -> RunningTurn:
        """The user's next line, written by the model, which may go on from what the user has `begun`."""
        plan = partial(plan_impersonation, encode=self.renderer.encode, begun=begun)
        return await self._begin(session_id, plan, params, "impersonate", terms)

    async def change(self, session_id: str, make_changes: Callable[[Session], Awaitable[dict[str, Any]]]) -> Session:
        """Change fields of a session between two turns, and write its head anew. Raises SessionBusyError in one."""
        async with self.leases.take(session_id) as (session, turn_id):
            changed = replace(session, **await make_changes(session))
            changed = await self.preparation.with_head(changed)
            self.prompts.check_opening(changed)
            changed = await self.sessions.commit(changed, [], tip=changed.tip, window=changed.window, lease=turn_id)
            self.afterwards.changed(changed)
            return changed

    async def rearrange(
        self, session_id: str, make_change: Callable[[Session], Change], terms: Terms = Terms()
    ) -> tuple[Session, str]:
        """Change the session's tree between two turns; returns it and the turn's id. Raises SessionBusyError in one."""
        try:
            async with self.leases.take(session_id, terms) as (session, turn_id):
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

    async def _begin(
        self,
        session_id: str,
        make_plan: Callable[[Session], Plan],
        params: SamplingParams,
        endpoint: str,
        terms: Terms,
    ) -> RunningTurn:
        started = time.perf_counter()
        self.admit()
        try:
            async with self.leases.take(session_id, terms) as (session, turn_id):
                # A transcript may be new from its first line on, and all of it must be encoded.
                plan = await self.direction.cast(session, await anyio.to_thread.run_sync(make_plan, session))
                adapter = await self.voices.find(turn_voice(session, plan.role, plan.speaker))
                params = replace(
                    params,
                    max_tokens=params.max_tokens or self.prompts.reply_tokens,
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
            turns = self.prompts.build_turns(session, setup, setup.plan.prefill_ids)
            moment = Moment(setup.scene.card, session.user, turns, adapter)
            chooser, params = self.choosing.build_chooser(moment, setup.beginning, params)
        return RunningTurn(
            self,
            prompt.token_ids,
            params,
            endpoint,
            started,
            write,
            beginning=setup.beginning,
            introduction=self.prompts.introduce(session, setup) if params.constraint is None else None,
            adapter=adapter,
            chooser=chooser,
        )

    async def _settle(
        self, session: Session, plan: Plan, params: SamplingParams
    ) -> tuple[Setup, Prompt, SamplingParams]:
        """The turn of `plan`, laid out. Lore that is cut from the history can be told on this very turn."""
        setup = await self.preparation.prepare(session, plan, begins=params.constraint is None)
        if setup.beginning.text:
            params = going_on(params)
        prompt, room = self.prompts.lay_out(session, setup, params, setup.plan.prefill_ids)
        if loses_lore(setup, prompt.start):
            setup = await self.preparation.prepare(session, plan, start=prompt.start, begins=params.constraint is None)
            prompt, room = self.prompts.lay_out(session, setup, params, setup.plan.prefill_ids)
        return setup, prompt, room

    def admit(self) -> None:
        """Raise ApiError where no turn may begin now."""
        if self.engine.error() is not None:
            raise EngineDownError("the inference engine has died, and the server stops")
        self.running.admit()
