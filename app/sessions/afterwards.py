"""What is done for a session between its turns, while its user reads: the next cut is planned, its prompt read ahead.

All of it happens in tasks that no turn waits for. What fails or comes too late is left: the next turn then cuts and
reads by itself. The next turn ends what is being read ahead; what is being remembered goes on to its end.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import anyio
import anyio.to_thread

from app.sessions.message import Message
from app.sessions.pause import Pause
from app.sessions.session import Cut, Session
from app.sessions.voices import next_voice
from app.sessions.warming import Warming
from app.sessions.window import RECAP_SHARE, find_cut, find_start, recap_of, told_until
from app.store.sessions import SessionStore
from models.cut import plan_cut
from models.prompt import build_prefix
from models.renderer import Renderer, Turn
from models.scene import read_layout
from models.sections import build_recap

logger = logging.getLogger(__name__)

# Nobody who reads answers sooner; a program that does isn't held up by what is read ahead.
PAUSE_S = 0.1
# Of what fits into a prompt: how much is in it before anybody thinks of a cut.
FULL_SHARE = 0.5

# Plans that came too late for one turn and wait for the end of the next.
MOST_LATE = 1024

# Stores what is worth remembering of messages that leave the prompt, and returns what is to be told of them. Done twice
# for the same messages, it is done once.
Remember = Callable[[Session, Sequence[Message]], Awaitable[str]]
# What is done for a session in a pause between its turns.
Work = Callable[[Pause], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Spent:
    """A turn's prompt in tokens, and how many fit into one beside the reply."""

    prompt_tokens: int
    limit_tokens: int


class Afterwards:
    """The work between turns, of all sessions on one server. Its methods return at once and never raise."""

    def __init__(
        self,
        renderer: Renderer,
        sessions: SessionStore,
        warming: Warming,
        *,
        max_model_len: int,
        remember: Remember | None = None,
    ) -> None:
        self._renderer = renderer
        self._sessions = sessions
        self._warming = warming
        self.pause_s = PAUSE_S
        self._recap_tokens = int(max_model_len * RECAP_SHARE)
        self.remember = remember
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # Of a session several, where one waits for what an earlier one remembers.
        self._running: set[asyncio.Task[None]] = set()
        self._pauses: dict[str, Pause] = {}
        self._late: dict[str, Cut] = {}

    def opened(self, session: Session) -> None:
        """A session was opened: its head is read, unless it was lately."""
        if self._warming.has_room() and not self._note(session):
            self._start(session.id, partial(self._warm, session, pause_s=0.0))

    def changed(self, session: Session) -> None:
        """What its prompts begin with has changed, without a turn."""
        self._start(session.id, partial(self._warm, session, pause_s=self.pause_s))

    def committed(self, before: Session, session: Session, spent: Spent) -> None:
        """A turn was committed, `before` it the session was that one."""
        self._note(session)
        self._start(session.id, partial(self._follow, before, session, spent))

    def overtake(self, session_id: str) -> None:
        """The session's next turn begins: nothing needs to be read ahead of it any more."""
        if pause := self._pauses.pop(session_id, None):
            pause.end()

    @property
    def pending(self) -> int:
        """How many sessions something is being done for."""
        return len(self._tasks)

    async def close(self) -> None:
        """End everything that is still being done."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, session_id: str, work: Work) -> None:
        self.overtake(session_id)
        pause = self._pauses[session_id] = Pause()
        earlier = self._tasks.get(session_id)
        task = self._tasks[session_id] = asyncio.create_task(self._run(session_id, pause, work, earlier))
        self._running.add(task)
        task.add_done_callback(partial(self._forget, session_id, pause))

    async def _run(self, session_id: str, pause: Pause, work: Work, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await asyncio.wait([earlier])
        try:
            await work(pause)
        except Exception as error:  # whatever it is, no turn depends on it
            logger.warning("nothing was prepared for the next turn of session %s", session_id, exc_info=error)

    def _forget(self, session_id: str, pause: Pause, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._tasks.get(session_id) is task:
            del self._tasks[session_id]
        if self._pauses.get(session_id) is pause:
            del self._pauses[session_id]

    async def _follow(self, before: Session, session: Session, spent: Spent, pause: Pause) -> None:
        # First what the next turn is the likelier to need; what is to be told of what leaves may be long in the making.
        await self._warm(session, pause, pause_s=self.pause_s, known=spent.prompt_tokens)
        history = session.shared(session.branch())
        start = find_start(session, history)
        if session.window != before.window and start > told_until(session, history):
            # It was cut before anything was planned: what is told of it comes with the next cut.
            await self._recall(session, history[told_until(session, history) : start])
        late = self._late.pop(session.id, None)
        planned = await self._plan(replace(session, planned=session.planned or late), history, spent)
        if planned is None:
            return
        if planned != session.planned and not await self._sessions.plan(session, planned):
            self._keep_late(session.id, planned)
            return
        head_tokens = len(self._renderer.render(session.head))
        await self._warm(replace(session, window=planned.window, cut=planned), pause, known=head_tokens)

    def _keep_late(self, session_id: str, planned: Cut) -> None:
        """Keep a plan that the next turn came before: what is told of what leaves was long in the making."""
        self._late[session_id] = planned
        if len(self._late) > MOST_LATE:
            del self._late[next(iter(self._late))]

    async def _plan(self, session: Session, history: Sequence[Message], spent: Spent) -> Cut | None:
        """The cut that the next turn may have to make; None when it won't."""
        if spent.prompt_tokens < spent.limit_tokens * FULL_SHARE:
            return None
        start, turns = find_start(session, history), session.as_turns(history, self._renderer.encode)
        head = self._told(session.head, recap_of(session, history))
        # What this turn's prompt held beside head and history; the reply wasn't in it.
        beside_tokens = spent.prompt_tokens - len(self._renderer.render([*head, *turns[start:-1]]))
        planned = find_cut(session, session.planned, history)
        find = partial(
            plan_cut,
            self._renderer,
            head,
            turns,
            beside_tokens=max(0, beside_tokens),
            limit_tokens=spent.limit_tokens,
            start=start,
            planned=planned,
        )
        cut = await anyio.to_thread.run_sync(find)
        if cut is None:
            return None
        if cut == planned:
            return session.planned
        recap = await self._recall(session, history[told_until(session, history) : cut])
        return Cut(history[cut].id, recap or recap_of(session, history))

    async def _recall(self, session: Session, leaving: Sequence[Message]) -> str:
        """What is to be told of the messages that leave the prompt; "" where nothing is remembered."""
        recap = await self.remember(session, leaving) if self.remember else ""
        ids = self._renderer.encode(recap)
        if len(ids) <= self._recap_tokens:
            return recap
        return self._renderer.decode(ids[: self._recap_tokens]).rstrip("\ufffd")

    async def _warm(self, session: Session, pause: Pause, *, pause_s: float = 0.0, known: int = 0) -> None:
        """Read what the session's next prompt begins with; its first `known` tokens were read before."""
        # Under `compat` nothing stays in its place.
        if read_layout(session.card) == "compat" or not self._warming.has_room():
            return
        with pause.reading():
            await anyio.sleep(pause_s)
            history = session.shared(session.branch())
            voice = next_voice(session, history)
            # Another voice couldn't use what this one has read.
            if voice is None:
                return
            turns = session.as_turns(history[find_start(session, history) :], self._renderer.encode)
            head = self._told(session.head, recap_of(session, history))
            await self._warming.warm(build_prefix(self._renderer, head, turns), voice, known)

    def _note(self, session: Session) -> bool:
        """Note that the session's head is read. Returns whether it was lately, by the same voice."""
        return self._warming.note(session.head, next_voice(session, session.branch()) or "")

    def _told(self, head: Sequence[Turn], recap: str) -> list[Turn]:
        return [*head, *build_recap(self._renderer.encode, recap)]
