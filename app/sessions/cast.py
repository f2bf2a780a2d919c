"""Several characters in one session: who they are, what each is told, and who of them speaks next. Pure."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, Protocol

from app.errors import InvalidRequestError, quoted
from app.sessions.lore import Books
from characters.card import CardData, CharacterCard
from models.memory.keywords import COMMON, UNSPACED

TurnOrder = Literal["list", "natural", "director", "manual"]

MOST_CAST = 12
# SillyTavern's, for a card that says nothing of it.
TALKATIVENESS = 0.5
# Letters that may stand against a name without being a part of its word, and those that are, being of its own script.
_UNSPACED = rf"[{UNSPACED}\uac00-\ud7a3]"
_KATAKANA = r"[\u30a1-\u30fa\u30fc-\u30fe]"


@dataclass(frozen=True, slots=True)
class Member:
    """One of the cast, as it was at `revision`: what it wants and what it alone knows, and its own lorebooks."""

    character_id: str
    card: CharacterCard
    motive: str = ""
    knowledge: str = ""
    books: Books = ()
    version: int = 0
    revision: str = ""

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def talkativeness(self) -> float:
        """How likely it joins in, from 0 to 1; whatever else a card says counts as nothing."""
        try:
            return min(1.0, max(0.0, float(self.card.data.extensions.get("talkativeness", TALKATIVENESS))))
        except (TypeError, ValueError):
            return TALKATIVENESS


class Line(Protocol):
    """A message of a session, as far as the order of speakers depends on it."""

    @property
    def speaker(self) -> str | None: ...
    @property
    def content(self) -> str: ...


def check_cast(cast: Sequence[Member], user: str) -> None:
    """Raise InvalidRequestError for a cast that can't play: too many, or two that can't be told apart.

    `user` is the name of whom the user plays, who is in the scene, too.
    """
    if len(cast) > MOST_CAST:
        told = f"a cast of {len(cast)} is too large; at most {MOST_CAST} play together"
        raise InvalidRequestError(told, param="character_ids", code="cast_too_large")
    names = [_read_name(member.name) for member in cast]
    twice = next((member.name for member in cast if names.count(_read_name(member.name)) > 1), None)
    if twice is not None:
        told = f"two of the cast are called {quoted(twice)}, and couldn't be told apart"
        raise InvalidRequestError(told, param="character_ids", code="cast_names_alike")
    if _read_name(user) in names:
        told = f"the user is called {quoted(user)} as one of the cast is, and couldn't be told apart: give another name"
        raise InvalidRequestError(told, param="user.name", code="cast_names_alike")


def _read_name(name: str) -> str:
    """What readers go by: neither case, nor the width of letters, nor how many spaces."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def build_ensemble(cast: Sequence[Member], scene: str) -> CharacterCard:
    """What stands for the whole cast where a session has a card: its names, and the scene that it plays."""
    return CharacterCard(data=CardData(name=", ".join(member.name for member in cast)[:200], scenario=scene))


def find_member(cast: Sequence[Member], named: str) -> Member:
    """The member of that id or name. Raises InvalidRequestError."""
    # An id first: somebody else may be called that.
    found = [member for member in cast if named == member.character_id]
    found += [member for member in cast if named.casefold() == member.name.casefold()]
    if found:
        return found[0]
    told = f"{quoted(named)} is none of the cast: {', '.join(member.character_id for member in cast)}"
    raise InvalidRequestError(told, param="speaker", code="unknown_speaker")


def next_in_list(cast: Sequence[Member], said: Sequence[Line]) -> Member:
    """The one after the last speaker, round and round."""
    ids = [member.character_id for member in cast]
    last = next((line.speaker for line in reversed(said) if line.speaker in ids), None)
    return cast[(ids.index(last) + 1) % len(cast)] if last else cast[0]


def next_naturally(cast: Sequence[Member], said: Sequence[Line], seed: str) -> Member:
    """Who is spoken of in the last line, the first first; else who feels like talking; else anybody.

    Nobody follows themselves unless they are alone. The same `seed` gives the same again.
    """
    last = said[-1] if said else None
    others = [member for member in cast if last is None or member.character_id != last.speaker] or list(cast)
    mentioned = [(place, member) for member in others if (place := _mention(member, last.content if last else "")) >= 0]
    if mentioned:
        return min(mentioned, key=lambda found: found[0])[1]
    chance = Random(seed)  # noqa: S311 - who talks is no secret
    chance.shuffle(others)
    return next((member for member in others if chance.random() < member.talkativeness), others[0])


def _tells(word: str) -> bool:
    """Whether a word of a name names anybody: "the" of "The Innkeeper" is in every line."""
    least = 2 if re.match(_UNSPACED, word) else 3
    return len(word) >= least and word.casefold() not in COMMON


def _mention(member: Member, text: str) -> int:
    """Where the text first has a word of the member's name, -1 for nowhere."""
    words = [member.name, *(word for word in re.findall(r"\w+", member.name) if _tells(word))]
    found = re.search("|".join(map(_as_word, words)), text, re.IGNORECASE)
    return found.start() if found else -1


def _as_word(name: str) -> str:
    """A pattern for the name, not inside another word as far as its script tells where words end."""
    return f"(?<!{_inside(name[0])}){re.escape(name)}(?!{_inside(name[-1])})"


def _inside(end: str) -> str:
    """A pattern for a letter that goes on with the word which this letter ends."""
    if re.match(_KATAKANA, end):
        return _KATAKANA
    # No letter is in the empty class.
    return r"[^\s\S]" if re.match(_UNSPACED, end) else rf"(?!{_UNSPACED})\w"
