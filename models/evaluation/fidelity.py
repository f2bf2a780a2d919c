"""How true replies are to their card, so that the truest of several can be told.

`Likelihood` needs no other model. By Bayes' rule, how likely the card's facts are once a reply is known is, but for a
part that all replies share, how much likelier the card makes it: log P(reply | card, chat) − log P(reply | chat). The
first comes with the reply; the second is read under a prompt that names who speaks and says nothing else of them.
`Entailment` asks a classifier about each claim of the card, as APC does.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import uuid4

from characters.card import CardData, CharacterCard

from models.engine import Adapter, Engine
from models.evaluation.apc import score_apc
from models.evaluation.statements import build_statements
from models.nli import Nli
from models.renderer import Renderer, Turn
from models.scene import Scene, UserPersona
from models.sections import build_head

# What is read again for each candidate, of the last turns and of the reply. An 8B's log-probabilities take ten bytes a
# token and word of its vocabulary while they are computed: 1.4 GB for as much as this.
MOST_TURNS, MOST_TURN_TOKENS, MOST_REPLY_TOKENS = 3, 128, 512
MOST_NAME = 200


@dataclass(frozen=True, slots=True)
class Candidate:
    """One reply, its ids less the token that ends it, and their log-probabilities under the card."""

    text: str
    token_ids: Sequence[int]
    logprobs: Sequence[float]


@dataclass(frozen=True, slots=True)
class Moment:
    """Who answers, and the last turns; one of the assistant's at the end is the beginning of the reply.

    `adapter` is what it was written with: both likelihoods must be of the same weights, or they tell those apart.
    """

    card: CharacterCard
    user: UserPersona
    turns: Sequence[Turn]
    adapter: Adapter | None = None


class Judge(Protocol):
    """Tells how true replies are: the higher the truer, on a scale of its own called `name`."""

    name: str

    async def score(self, candidates: Sequence[Candidate], moment: Moment) -> list[float]:
        """A number for each, in their order. Raises as `Engine.score` does, or NliError."""


class Likelihood:
    """See `Judge`: nats by which the card makes a reply likelier, over all its tokens."""

    name = "likelihood"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def score(self, candidates: Sequence[Candidate], moment: Moment) -> list[float]:
        said = [candidate.token_ids[:MOST_REPLY_TOKENS] for candidate in candidates]
        room = self._engine.max_model_len - max(map(len, said), default=0) - 1
        prompt = build_bare_prompt(self._engine.renderer, moment, room)
        alone = await asyncio.gather(
            *(
                self._engine.score(prompt, ids, request_id=f"score-{uuid4().hex}", adapter=moment.adapter)
                for ids in said
            )
        )
        return [
            sum(candidate.logprobs[: len(ids)]) - likelihood
            for candidate, ids, likelihood in zip(candidates, said, alone, strict=True)
        ]


class Entailment:
    """See `Judge`: how much a reply gains over silence against the claims of the card."""

    name = "nli"

    def __init__(self, nli: Nli) -> None:
        self._nli = nli

    async def score(self, candidates: Sequence[Candidate], moment: Moment) -> list[float]:
        claims = build_statements(moment.card, moment.user)
        pairs = [
            (f"{moment.card.name} says: “{candidate.text}”", claim) for candidate in candidates for claim in claims
        ]
        verdicts = await self._nli.judge(pairs)
        each = len(claims)
        return [score_apc(verdicts[place * each : (place + 1) * each]).gain for place in range(len(candidates))]


def build_bare_prompt(renderer: Renderer, moment: Moment, limit_tokens: int) -> list[int]:
    """Prompt ids for the same reply from somebody of whom only the name is known, after the last turns."""
    nobody = CharacterCard(data=CardData(name=moment.card.name[:MOST_NAME]))
    head = build_head(renderer.encode, Scene(nobody, UserPersona(moment.user.name)))
    turns = [Turn(turn.role, turn.token_ids[-MOST_TURN_TOKENS:]) for turn in moment.turns[-MOST_TURNS:]]
    while (
        turns and (turns[0].role != "user" or len(renderer.render([*head, *turns])) > limit_tokens) and len(turns) > 1
    ):
        turns = turns[1:]
    return renderer.render([*head, *turns])
