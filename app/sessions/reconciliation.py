"""The turn that a transcript asks for which its client keeps itself and sends whole each time: what is new of it. Pure.

The longest beginning of the transcript that the session's tree knows is looked up, and the rest is written below it. So
a transcript that has grown adds its last message, one whose last reply is missing adds nothing and gets another reply,
and one that was edited or forked adds what it says differently, and what follows that. Nothing leaves the tree.

Texts are the same when they are without white space at their ends and whatever ends their lines. The system's messages
are none of a transcript's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from app.sessions.ids import new_id
from app.sessions.message import Message
from app.sessions.plans import Plan
from app.sessions.session import Session
from models.examples import Line

Encode = Callable[[str], list[int]]
# What a client shows of a reply.
Shown = Callable[[str], str]
# Who answers what is none of a session's turns: the raw model, or the character that was asked.
Answerer = Literal["model", "character"]
# Who speaks, and what.
Key = tuple[str, str]

# So many messages in a row are the same by no accident.
SURE_LINES = 3
# Of the branch's last messages, those that a client's job may quote, and how long they are at least.
QUOTED_MESSAGES = 8
QUOTED_CHARACTERS = 24


class Aside(Exception):
    """A transcript that is no turn of the session: it is about it, or with another character."""

    def __init__(self, answerer: Answerer) -> None:
        super().__init__(answerer)
        self.answerer = answerer


@dataclass(frozen=True, slots=True)
class Place:
    """Where a transcript stands in a tree: its first `known` lines end with `message` there."""

    message: str | None = None
    known: int = 0


def as_written(text: str) -> str:
    """A reply whose client is shown all of it."""
    return text


def normalised(text: str) -> str:
    """What of a text tells it from others."""
    return (text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text).strip()


def plan_transcript(
    session: Session,
    lines: Sequence[Line],
    encode: Encode,
    *,
    system: Sequence[str] = (),
    whole: bool = False,
    shown: Shown = as_written,
) -> Plan:
    """The turn that `lines` ask for, of which a last one of the assistant's is the beginning of the reply.

    One message alone is the newest of a client that sends no others, unless it always sends the `whole` transcript.
    `system` as of `Turns.follow`; `shown` is what the client sees of a reply. Raises Aside.
    """
    begun = lines[-1].text if lines[-1].role == "assistant" else ""
    said = lines[:-1] if begun else lines
    spoken = _Spoken(session, shown)
    if len(said) == 1 and spoken.is_quoted(said[0].text):
        raise Aside("model")
    place = spoken.place_newest(said[0]) if len(said) == 1 and not whole else spoken.place(said)
    added = spoken.write(said[place.known :], spoken.end_of(place), encode)
    parent = added[-1].id if added else place.message
    replies = [] if added else [child for child in spoken.under(parent) if child.role == "assistant"]
    going_on = next((reply for reply in replies if begun and reply.content == begun), None)
    return Plan(
        added,
        parent,
        session.instructions(system),
        trigger="continue" if going_on else "regenerate" if replies and not begun else "normal",
        prefill=begun,
        prefill_ids=going_on.token_ids if going_on else encode(begun) if begun else [],
        speaker=going_on.speaker if going_on else None,
        seen_by=spoken.seen_by(added, parent),
    )


class _Spoken:
    """A session's tree without the system's messages, for looking lines up."""

    def __init__(self, session: Session, shown: Shown) -> None:
        self._tip = session.tip
        self._messages = session.messages
        self._shown = shown
        self._active = [message for message in session.branch() if message.role != "system"]
        self._active_ids = {message.id for message in self._active}
        self._children: dict[str | None, list[Message]] = {}
        for message in session.messages.values():
            self._children.setdefault(message.parent, []).append(message)

    def under(self, parent: str | None) -> list[Message]:
        """What was said right after that message; for None, at the beginning."""
        below, spoken = list(self._children.get(parent, ())), []
        while below:
            message = below.pop()
            if message.role == "system":
                below += self._children.get(message.id, ())
            else:
                spoken.append(message)
        return spoken

    def seen_by(self, added: Sequence[Message], parent: str | None) -> Sequence[str]:
        """Who of a cast hears the reply to the last one added, else to `parent`: those who hear that."""
        answered = added[-1] if added else self._messages.get(parent or "")
        return answered.seen_by if answered else ()

    def is_quoted(self, text: str) -> bool:
        """Whether the text has messages of both sides in it, word for word."""
        latest = [(message.role, normalised(message.content)) for message in self._active[-QUOTED_MESSAGES:]]
        return len({role for role, said in latest if len(said) >= QUOTED_CHARACTERS and said in text}) > 1

    def place_newest(self, line: Line) -> Place:
        """Where a message that comes alone stands: at the branch's end.

        It is there already where that is the user's, or where it is the only one that was ever answered: the client
        wants another reply, or sends the request again. A client of whole transcripts asks for no other of its first
        reply than so, and one of newest messages that says the same thing twice sends the very same; nobody can tell
        them apart. Either way the reply before is kept beside the next one.
        """
        greeted = bool(self._active) and self._active[0].role == "assistant"
        opening = self._active[greeted:]
        asked = [*self._active[-1:], *(opening[:1] if len(opening) == 2 else [])]
        again = next((message for message in asked if self._key(message) == self._key(line)), None)
        return Place(again.id, 1) if again else Place(self._tip)

    def place(self, said: Sequence[Line]) -> Place:
        """Where a whole transcript stands, with its greeting or without, or what its client still shows of it."""
        keys = [self._key(line) for line in said]
        roots = sorted(self.under(None), key=lambda root: root.created)
        openings = [root.id for root in roots if root.role == "assistant"]
        unopened = said[0].role == "user"
        place = self._follow([None, *(openings if unopened else [])], keys)
        if not place.known and not unopened and not openings:
            place = self._follow([None], keys[1:], skipped=1)
        if place.known < len(keys) - 1:
            place = max(place, self._place_latest(keys), key=lambda found: found.known)
        if not place.known and unopened and roots and roots[0].role == "assistant":
            # What the session was opened with.
            return Place(roots[0].id)
        return place

    def end_of(self, place: Place) -> str | None:
        """What new lines stand under: what the system has said last on the branch stays above them."""
        return self._tip if self._active and place.message == self._active[-1].id else place.message

    def write(self, lines: Sequence[Line], parent: str | None, encode: Encode) -> list[Message]:
        """The lines as messages under `parent`; those that the branch has elsewhere keep their ids of tokens."""
        said: dict[Key, list[Message]] = {}
        for message in self._active if len(lines) > 1 else ():
            said.setdefault(self._key(message), []).append(message)
        above = self._above(parent)
        written: list[Message] = []
        for line in lines:
            if same := said.get(self._key(line)):
                copy = same[-1].copied(parent)
                # Of what was said more than once nobody knows which one it is.
                moved = len(same) == 1 and same[0].id not in above
                written.append(copy if moved else replace(copy, origin=""))
            else:
                written.append(Message(new_id("msg"), parent, line.role, line.text, encode(line.text.strip())))
            parent = written[-1].id
        return written

    def _above(self, message_id: str | None) -> set[str]:
        """The ids of the message and of all before it."""
        above: set[str] = set()
        while message_id is not None:
            above.add(message_id)
            message_id = self._messages[message_id].parent
        return above

    def _key(self, said: Message | Line) -> Key:
        text = said.content if isinstance(said, Message) else said.text
        return said.role, normalised(self._shown(text) if said.role == "assistant" else text)

    def _follow(self, parents: Sequence[str | None], keys: Sequence[Key], *, skipped: int = 0) -> Place:
        """How far `keys` are said under `parents`: on the active branch if it goes as far, else where it is newest."""
        place = Place()
        for known, key in enumerate(keys, skipped + 1):
            found = [child for parent in parents for child in self.under(parent) if self._key(child) == key]
            if not found:
                break
            best = max(found, key=lambda message: (message.id in self._active_ids, message.created))
            place, parents = Place(best.id, known), [message.id for message in found]
        return place

    def _place_latest(self, keys: Sequence[Key]) -> Place:
        """Where a transcript stands whose client has dropped what is old: a run of the active branch, and on from it.

        It counts where it is long, or is all but the last message and reaches the branch's last exchange.
        """
        runs = _find_runs(keys, [self._key(message) for message in self._active])
        known, start = max(((run, start) for start, run in enumerate(runs)), default=(0, 0))
        if not known:
            return Place()
        end = self._active[start + known - 1].id
        beyond = self._follow([end], keys[known:], skipped=known)
        place = beyond if beyond.known else Place(end, known)
        ends = [message.id for message in self._active[-2:]]
        reaches = place.known >= len(keys) - 1 and place.message in ends
        return place if reaches or place.known >= SURE_LINES else Place()


def _find_runs(keys: Sequence[Key], branch: Sequence[Key]) -> list[int]:
    """For each message of `branch`, how many of `keys` stand in a row from there on. Linear: the Z algorithm."""
    text = [*keys, None, *branch]
    runs = [0] * len(text)
    left = right = 0
    for at in range(1, len(text)):
        run = min(right - at, runs[at - left]) if at < right else 0
        while at + run < len(text) and text[run] == text[at + run]:
            run += 1
        if at + run > right:
            left, right = at, at + run
        runs[at] = run
    return runs[len(keys) + 1 :]
