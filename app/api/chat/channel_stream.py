"""The frames of a reply whose channels are told apart while it streams.

Speech is `content`, as in any other stream, so a client that knows nothing of channels sees speech alone. With
`separate`, thoughts and actions are deltas of their own, `{"thought": …}` and `{"action": …}`, each whole, in order.
"""

from typing import Any

from app.api.chat.channels import View
from app.api.chat.sse import ChatStream, ErrorResponse
from app.sessions.turn import RunningTurn
from models.channels import Listener
from models.engine import Chunk
from models.marks import Channel


def open_stream(
    turn: RunningTurn, model: str, on_error: ErrorResponse, view: View, *, include_usage: bool, begun: str = ""
) -> ChatStream:
    """The stream that shows `view` of a reply that goes on from `begun`."""
    if view == "show":
        return ChatStream(turn, model, on_error, include_usage=include_usage)
    return ChannelStream(turn, model, on_error, view, include_usage=include_usage, begun=begun)


class ChannelStream(ChatStream):
    """What is held back because it may be a thought or an action still is sent before the end or the error."""

    def __init__(
        self, turn: RunningTurn, model: str, on_error: ErrorResponse, view: View, *, include_usage: bool, begun: str
    ) -> None:
        super().__init__(turn, model, on_error, include_usage=include_usage)
        self._view = view
        self._listeners = [Listener(begun) for _ in range(turn.told)]

    def _delta(self, chunk: Chunk) -> bytes:
        return self._frames(chunk.index, self._listeners[chunk.index].hear(chunk.text))

    def _held(self) -> bytes:
        return b"".join(self._frames(index, listener.end()) for index, listener in enumerate(self._listeners))

    def _frames(self, index: int, told: list[tuple[Channel, str]]) -> bytes:
        frames = b""
        for channel, text in told:
            if channel == "speech" or self._view == "separate":
                delta: dict[str, Any] = {"content" if channel == "speech" else channel: text}
                choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
                frames += self._frame({"choices": [choice]})
        return frames
