"""Server-sent events as OpenAI's chat API sends them: one `data:` line an event, comments between."""

DONE = b"[DONE]"


class FrameReader:
    """Bytes in, as they come from the socket; whole payloads out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Payloads of the `data:` lines that are complete now. Half a line is kept for the next call."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]
