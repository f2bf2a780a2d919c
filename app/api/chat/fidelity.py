"""The best of several replies, as clients ask for it: `"fidelity": {"n": 4}` with any turn of a character's."""

from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.api.chat.channels import ChannelFields
from app.api.chat.sampling import MAX_N
from app.errors import InvalidRequestError
from app.sessions.turn import RunningTurn
from app.sessions.turns import Turns
from models.engine import SamplingParams


class Fidelity(BaseModel):
    """How many candidates are written, of which the one is told that is truest to the card."""

    model_config = ConfigDict(extra="forbid")

    n: int = Field(4, ge=1, le=MAX_N)


class ReplyFields(ChannelFields):
    """Sampling, what is seen of the channels, and whether the reply is the best of several. Null is neither."""

    fidelity: Fidelity | None = None

    @property
    def chooses(self) -> bool:
        return self.fidelity is not None

    async def to_params(self, turns: Turns, *, temperature: float) -> SamplingParams:
        params = await super().to_params(turns, temperature=temperature)
        if self.fidelity is None:
            return params
        if params.n > 1:
            told = "`n` is how many replies you get, `fidelity.n` of how many you get the best: leave one of them out"
            raise InvalidRequestError(told, param="fidelity")
        if self.fidelity.n > 1 and params.temperature == 0:
            raise InvalidRequestError("at temperature 0 all candidates are the same reply", param="fidelity")
        return replace(params, n=self.fidelity.n)


def fidelity_to_wire(turn: RunningTurn) -> dict[str, Any]:
    """What the reply that is told scored, and all candidates, best first; nothing where none was chosen."""
    if turn.chooser is None or not turn.chooser.scores:
        return {}
    scores = [round(score, 4) for score in turn.chooser.scores]
    return {"fidelity": {"score": scores[0], "scores": scores, "by": turn.chooser.judged_by}}
