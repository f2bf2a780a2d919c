"""Turns that no session keeps: on a conversation as it is, or on a character's transcript that its client keeps."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING

from app.sessions.beginning import NO_WORDS, Beginning, going_on
from app.sessions.lore import Books, build_chat
from app.sessions.state import known_of
from app.sessions.turn import RunningTurn
from app.sessions.voices import read_voice
from characters.calls import Context
from models.engine import SamplingParams
from models.evaluation.fidelity import MOST_TURNS, Moment
from models.examples import Line
from models.prompt import build_prompt
from models.renderer import Turn
from models.scene import Scene
from models.sections import build_head, build_insertions
from models.transcript import NONE_KNOWN, Known, build_transcript_prompt

if TYPE_CHECKING:
    from app.sessions.turns import Turns


class Stateless:
    """Begins turns without a session."""

    def __init__(self, turns: "Turns") -> None:
        self._turns = turns

    async def complete(
        self, turns: Sequence[Turn], params: SamplingParams, *, endpoint: str = "chat.completions"
    ) -> RunningTurn:
        """Answer a conversation as it is. Raises ContextLengthError when it doesn't fit."""
        started = time.perf_counter()
        self._turns.admit()
        build = partial(build_prompt, self._turns.engine.renderer, [], turns, cut=False)
        prompt, params = self._turns.prompts.fit(build, params, reply_tokens=1)
        return RunningTurn(self._turns, prompt.token_ids, params, endpoint, started)

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
        self._turns.admit()
        adapter = await self._turns.voices.find(read_voice(scene.card))
        renderer = self._turns.renderer
        said = [(line.role, line.text) for line in lines]
        # A transcript has no name: its first line and its length decide what chance says, in its head the line alone.
        seed = blake2b(lines[0].text.encode(), digest_size=16).hexdigest()
        model = {"model": self._turns.engine.model_id}
        begun = Context(seed=seed, chat=seed, now=datetime.now().astimezone(), known=model)
        known_now = model | known_of(said)
        now = replace(begun, seed=f"{seed}/{len(lines)}", known=known_now, variables={}, global_variables={})
        told = await self._turns.lore.tell(
            scene.card, scene.user, books, build_chat(scene.card, scene.user, said), context=now
        )
        # Nothing is kept of a client's transcript, so nothing can be frozen into it.
        told = told.thawed("")
        scene = replace(scene, lore=told.blocks, disabled=told.disabled)
        inserted = build_insertions(renderer.encode, replace(scene, context=replace(now, outlets=told.outlets)))
        head = build_head(
            self._turns.prompts.encode_fixed, replace(scene, context=replace(begun, outlets=told.outlets))
        )
        params = replace(params, ends_loops=True)
        words = NO_WORDS
        if told.begun and lines[-1].role != "assistant" and params.constraint is None:
            words = Beginning(told.begun, renderer.encode(told.begun))
            lines, params = [*lines, Line("assistant", words.text)], going_on(params)
        build = partial(build_transcript_prompt, renderer, head, lines, inserted=inserted, known=known)
        prompt, room = self._turns.prompts.fit(build, params)
        chooser = None
        if chooses:
            moment = Moment(scene.card, scene.user, self._last_turns(lines, known), adapter)
            chooser, room = self._turns.choosing.build_chooser(moment, words, room)
        return RunningTurn(
            self._turns,
            prompt.token_ids,
            room,
            "chat.completions",
            started,
            beginning=words,
            adapter=adapter,
            chooser=chooser,
        )

    def _last_turns(self, lines: Sequence[Line], known: Known) -> list[Turn]:
        """As many of the lines as a reply is judged by."""
        encode = self._turns.renderer.encode
        places = range(max(0, len(lines) - MOST_TURNS), len(lines))
        return [Turn(lines[place].role, known.get(place) or encode(lines[place].text)) for place in places]
