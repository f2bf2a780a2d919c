"""A reply's channels, told apart while it streams: what is said, what is thought, what is done.

The text is cut into pieces as it comes, and no piece depends on how the text was cut before. A thought or an action
comes whole, as soon as it is closed; while it may still be one, its text is held back, for models.marks.SPAN_LIMIT
characters at most, or twice as many behind `](`, which may be a link. What never closes is speech.
"""

from dataclasses import dataclass, field

from models.marks import CONTEXT, MARK, SPAN_LIMIT, Channel, is_wide, read_mark

_OPENING = "“‘«([{¿¡*_"
# Of what a reply goes on from, the characters that are read: far more than any span has, in 40 ms at worst.
BEGUN_LIMIT = 16 * SPAN_LIMIT


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a reply as it was written, marks included."""

    channel: Channel
    raw: str

    @property
    def text(self) -> str:
        """What it says, without the marks of a thought or an action."""
        return self.raw if self.channel == "speech" else self.raw[1:-1].strip()


@dataclass(frozen=True, slots=True)
class Channels:
    """A whole reply, told apart: the speech as if nothing had stood between, thoughts and actions without marks."""

    speech: str
    thoughts: list[str] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)


class Parser:
    """Cuts a reply into pieces that make up the text again, one after the other."""

    def __init__(self) -> None:
        self._text = ""
        self._done = 0

    def feed(self, text: str) -> list[Piece]:
        """The pieces that are certain with `text`. Speech comes in as many as it likes."""
        self._text += text
        return self._take(final=False)

    def close(self) -> list[Piece]:
        """What was held back, now that nothing follows."""
        return self._take(final=True)

    def _take(self, *, final: bool) -> list[Piece]:
        text = self._text
        given = position = self._done
        pieces: list[Piece] = []
        while mark := MARK.search(text, position):
            position = mark.start()
            if (read := read_mark(text, position, final=final)) is None:
                break
            channel, end = read
            if channel != "speech":
                if given < position:
                    pieces.append(Piece("speech", text[given:position]))
                pieces.append(Piece(channel, text[position:end]))
                given = end
            position = end
        else:
            position = len(text)
        if given < position:
            pieces.append(Piece("speech", text[given:position]))
        kept = max(position - CONTEXT, 0)
        self._text, self._done = text[kept:], position - kept
        return pieces


class Listener:
    """A reply's channels as a client gets them: `(channel, text)` in order, speech tidied around what stood in it.

    `begun` is what the reply goes on from: it is read, so that what it opens closes, and none of it is told.
    """

    def __init__(self, begun: str = "") -> None:
        self._parser = Parser()
        left_out, begun = begun[:-BEGUN_LIMIT], begun[-BEGUN_LIMIT:]
        self._begun = len(begun)
        # White space at its end, which doesn't come again.
        self._shown = begun[len(begun.rstrip()) :]
        self._last = ""
        self._in_quote = left_out.count('"') % 2 == 1
        self._left_out = False
        self._before = ""
        self._after = ""
        self.hear(begun)

    def hear(self, text: str) -> list[tuple[Channel, str]]:
        """What is certain with `text`. White space at the end of speech waits for what comes after it."""
        return self._tell(self._parser.feed(text))

    def end(self) -> list[tuple[Channel, str]]:
        """What was held back; white space that a thought or an action leaves at the end goes."""
        told = self._tell(self._parser.close())
        left = "" if self._left_out else self._before.removeprefix(self._shown)
        return [*told, ("speech", left)] if left else told

    def _tell(self, pieces: list[Piece]) -> list[tuple[Channel, str]]:
        told: list[tuple[Channel, str]] = []
        for piece in pieces:
            begun = min(self._begun, len(piece.raw))
            self._begun -= begun
            if piece.channel != "speech":
                self._left_out = True
                said = piece.raw[max(begun, 1) : -1].strip()
            else:
                self._say(piece.raw[:begun])
                said = self._say(piece.raw[begun:])
                if said:
                    said, self._shown = said.removeprefix(self._shown), ""
            if said:
                told.append((piece.channel, said))
        return told

    def _say(self, text: str) -> str:
        """`text` with the gap before it, without the white space at its end."""
        body = text.strip()
        if not body:
            self._hold(text)
            return ""
        self._hold(text[: len(text) - len(text.lstrip())])
        gap = self._bridge(body[0]) if self._left_out else self._before
        self._before, self._after, self._left_out = text[len(text.rstrip()) :], "", False
        self._last = body[-1]
        self._in_quote ^= body.count('"') % 2 == 1
        return gap + body

    def _hold(self, space: str) -> None:
        if self._left_out:
            self._after += space
        else:
            self._before += space

    def _bridge(self, following: str) -> str:
        """What takes the place of a thought or an action and the white space around it."""
        lines = max(self._before.count("\n"), self._after.count("\n"))
        if not self._last or lines:
            return "\n" * min(lines, 2) if self._last else ""
        if self._last in _OPENING or (self._last == '"' and self._in_quote):
            return ""
        begins = following.isalnum() or following in _OPENING or (following == '"' and not self._in_quote)
        if not self._after and (not begins or (not self._before and is_wide(following))):
            return ""
        return " "


def tell_apart(text: str, begun: str = "") -> Channels:
    """The channels of a reply that is complete, and goes on from `begun`."""
    listener = Listener(begun)
    told = [*listener.hear(text), *listener.end()]
    of: dict[Channel, list[str]] = {"speech": [], "thought": [], "action": []}
    for channel, said in told:
        of[channel].append(said)
    return Channels("".join(of["speech"]), of["thought"], of["action"])
