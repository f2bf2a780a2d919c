"""The prompts of turns: laid out from stored ids, as long as the context lets them be beside the reply.

What they say is settled before, in `app.sessions.preparation`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial

from app.errors import ContextLengthError, InvalidRequestError
from app.sessions.bounds import BoundedRenderer
from app.sessions.choice import Choice
from app.sessions.introduction import Introduction, build_introduction
from app.sessions.preparation import Setup
from app.sessions.running import Running
from app.sessions.session import Session
from app.sessions.window import find_start, planned_cut, recap_of
from models.engine import Engine, SamplingParams
from models.prompt import Prompt, PromptTooLong, build_prompt
from models.renderer import RenderError, Turn
from models.sections import build_head, build_insertions, build_recap


class Prompts:
    """Lays out prompts for one engine. A reply gets `reply_tokens` where its request doesn't say how long it may be."""

    def __init__(self, engine: Engine, renderer: BoundedRenderer, running: Running, reply_tokens: int) -> None:
        self.reply_tokens = min(reply_tokens, engine.max_model_len // 4)
        # The same few heads come with every request that has no session, thousands of tokens each; so do most tails.
        self.encode_fixed = lru_cache(maxsize=512)(renderer.encode)
        self._engine = engine
        self._renderer = renderer
        self._running = running
        self._stop_ids = frozenset(engine.renderer.stop_token_ids)

    def lay_out(
        self,
        session: Session,
        setup: Setup,
        params: SamplingParams = SamplingParams(),
        prefill_ids: Sequence[int] = (),
    ) -> tuple[Prompt, SamplingParams]:
        """The turn's prompt, and its sampling with the room that is left. Raises ContextLengthError."""
        encode, scene = self._renderer.encode, setup.scene
        turns = self.build_turns(session, setup, prefill_ids)
        head = session.head if scene.layout == "cache" else build_head(encode, setup.head_scene(session))
        build = partial(
            build_prompt,
            self._renderer,
            [*head, *build_recap(self.encode_fixed, recap_of(session, setup.history))],
            turns,
            inserted=build_insertions(self.encode_fixed, scene),
            start=find_start(session, setup.history),
            planned=planned_cut(session, setup.history, head, self.encode_fixed),
        )
        return self.fit(build, params)

    def build_turns(self, session: Session, setup: Setup, prefill_ids: Sequence[int]) -> list[Turn]:
        """The history, and the beginning of the reply where it has one."""
        heading = self._renderer.encode(session.heading(setup.plan.role, setup.plan.speaker))
        begun = [*heading, *prefill_ids, *setup.beginning.token_ids]
        said = session.as_turns(setup.history, self.encode_fixed)
        # What is said next is a turn of its own, though nothing of it is there: an open one would be gone on with.
        return [*said, Turn("assistant", begun)] if begun or (said and said[-1].role == "assistant") else said

    def introduce(self, session: Session, setup: Setup) -> Introduction | None:
        """How the line of a scene may begin; None where it has begun, or where a single character talks."""
        plan = setup.plan
        if not session.cast or plan.prefill_ids or setup.beginning.text:
            return None
        member = session.member(plan.speaker)
        speaker = session.user.name if plan.role == "user" or not member else member.name
        return build_introduction(speaker, session.names(), self._renderer.encode)

    def check_opening(
        self, session: Session, params: SamplingParams = SamplingParams(), said: str = "", system: Sequence[str] = ()
    ) -> None:
        """Raise ContextLengthError when a session that isn't written yet has no room for a conversation, or for `said`.

        Arguments as of `Turns.follow`.
        """
        renderer = self._renderer
        turns = [Turn("user", renderer.encode(said.strip()))] if said else []
        scene = replace(session.scene(), instructions=session.instructions(system))
        inserted = build_insertions(renderer.encode, scene)
        self.fit(partial(build_prompt, renderer, session.head, turns, inserted=inserted), params)

    def fit(
        self, build: Callable[..., Prompt], params: SamplingParams, *, reply_tokens: int | None = None
    ) -> tuple[Prompt, SamplingParams]:
        """The prompt of at most `limit_tokens`, which `build` gets, and the reply's length beside it."""
        context = self._engine.max_model_len
        try:
            prompt = build(limit_tokens=context - reply_tokens if reply_tokens else self.limit_tokens(params))
        except PromptTooLong as error:
            raise ContextLengthError(str(error), param="messages") from error
        except RenderError as error:
            raise InvalidRequestError(str(error), param="messages") from error
        room = context - len(prompt.token_ids)
        longest = min(params.max_tokens or room, room)
        return prompt, replace(params, max_tokens=longest, stream_interval=self._running.stream_interval())

    def limit_tokens(self, params: SamplingParams) -> int:
        """How many tokens a prompt may have beside its reply."""
        context = self._engine.max_model_len
        # A request that asks for more than half of the context gets what is left.
        return context - min(params.max_tokens or self.reply_tokens, context // 2)

    def content_ids(self, choice: Choice) -> Sequence[int]:
        """The ids that stand for a reply from now on: those generated, less the stop token.

        Where they say more than the client was sent (a stop string, a word cut by a disconnect, a special token that
        `ignore_eos` went past), its text is encoded.
        """
        ids = choice.token_ids
        if ids and ids[-1] in self._stop_ids:
            ids = ids[:-1]
        renderer = self._engine.renderer
        return ids if renderer.decode(ids) == choice.content else renderer.encode(choice.content)
