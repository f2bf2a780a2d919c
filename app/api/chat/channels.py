"""What a client sees of a reply's channels: the text as it was written, the rest beside the speech, or speech alone.

Only what is sent differs. What is stored, and what the model reads again, is always the text as it was written.
"""

from typing import Any, Literal

from pydantic import model_validator

from app.api.chat.sampling import SamplingFields
from models.channels import tell_apart

View = Literal["show", "separate", "hide"]


class ChannelFields(SamplingFields):
    """Sampling, and what is seen of the channels. Null is `show`."""

    channels: View | None = None

    @property
    def view(self) -> View:
        return self.channels or "show"

    @model_validator(mode="after")
    def _prose_alone_is_told_apart(self) -> "ChannelFields":
        if self.view == "show":
            return self
        if self.logprobs:
            raise ValueError("`logprobs` tell of the text as it was written: leave them out, or `channels`")
        as_json = self.response_format and self.response_format.type != "text"
        if as_json or (self.structured_outputs and self.structured_outputs.json_schema is not None):
            raise ValueError("`channels` are told apart in prose, not in JSON: leave them out, or the JSON")
        return self


def content_to_wire(text: str, view: View, begun: str = "") -> dict[str, Any]:
    """The part of a message that `view` decides: `content`, and with `separate` also `thoughts` and `actions`.

    `begun` are the words that it goes on from, which aren't in `text`.
    """
    if view == "show":
        return {"content": text}
    told = tell_apart(text, begun)
    beside = {"thoughts": told.thoughts, "actions": told.actions} if view == "separate" else {}
    return {"content": told.speech, **beside}
