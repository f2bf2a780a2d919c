"""Somebody to be written in one reply: from a persona, from quotes, or what a card lacks. What the user wrote stays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from characters.card import CharacterCard, build_card
from characters.profile import SYNTHESIS_LENGTHS, Profile, one_line

from models.renderer import Renderer, Turn
from models.synthesis.form import ALPHABETS, BOUNDS, Form, alphabets_for, fit_form
from models.synthesis.profile_prompt import build_profile_turns

Written = dict[str, str]

# Of a card's text, the characters and the share of the context that its prompt has at most.
MOST_CARD_CHARACTERS = 20_000
CARD_SHARE = 0.25


class NothingMissing(ValueError):
    """The card is complete."""


@dataclass(frozen=True, slots=True)
class Commission:
    """What the model is told, the profile's fields that are known, and how the card is made of those it writes.

    `share` is how much of the context a text may take that is cut beyond it; None cuts nothing. `bounds` and
    `alphabets` are what `fit_form` may choose from. `filled` names what is new in a card that was there before.
    """

    told: str
    known: Written
    finish: Callable[[Written], CharacterCard]
    share: float | None = None
    bounds: Sequence[int] = BOUNDS
    alphabets: Sequence[int] = ALPHABETS
    filled: tuple[str, ...] = ()

    @property
    def needs_model(self) -> bool:
        """Whether a field of the profile is to be written: a greeting alone takes no model."""
        return any(field not in self.known for field in SYNTHESIS_LENGTHS)

    def ask(self, renderer: Renderer, max_model_len: int) -> tuple[list[Turn], Form]:
        """The conversation that asks for it, and the form to answer in. Raises ProfileTooLong."""
        system, user = build_profile_turns(renderer, self.told)
        told = user.token_ids
        around = len(renderer.render([system, user])) - len(told)
        wanted = len(told) if self.share is None else min(len(told), int(self.share * max_model_len))
        form = fit_form(self.known, around + wanted, max_model_len, alphabets=self.alphabets, bounds=self.bounds)
        room = max_model_len - form.longest_tokens - around
        return [system, Turn("user", told[:room])], form


def from_persona(persona: str, name: str | None = None) -> Commission:
    """Somebody of whom one line is told. Values are as long as they may be; the context bounds the persona."""
    line = " ".join(persona.split())
    known = _named(name)

    def finish(written: Written) -> CharacterCard:
        return build_card(Profile(**known | written), line)

    return Commission(line, known, finish, bounds=BOUNDS[:1])


def from_quotes(quotes: Sequence[str], name: str | None = None) -> Commission:
    """Somebody who says this; the quotes stay in the profile."""
    known = _named(name)

    def finish(written: Written) -> CharacterCard:
        return build_card(Profile(**known | written, quotes=list(quotes)))

    told = f"{name or 'Somebody'}, who says: " + " ".join(f"“{quote.strip()}”" for quote in quotes)
    return Commission(told, known, finish, alphabets=alphabets_for(told))


def from_card(card: CharacterCard, *, named: bool = True) -> Commission:
    """Somebody who is known in part. `named` False asks for another name than the card's, too.

    What the model reads of the card is cut where it is long. Raises NothingMissing.
    """
    known = _known(card, named)
    missing = [field for field in SYNTHESIS_LENGTHS if field not in known]
    filled = (*missing, *(() if card.greetings() else ("first_mes",)))
    if not filled:
        raise NothingMissing("the card has a greeting, and every field of its profile says something")
    told = _tell(card, named)
    return Commission(
        told,
        known,
        lambda written: complete(card, written, named=named)[0],
        share=CARD_SHARE,
        alphabets=alphabets_for(told),
        filled=filled,
    )


def complete(card: CharacterCard, written: Written, *, named: bool = True) -> tuple[CharacterCard, tuple[str, ...]]:
    """The card with what of `written` it lacks and a greeting, and the names of what is new.

    Description, scenario and examples stay as they are, blank or not: the profile is told beside them, and would be
    told twice.
    """
    before = card.profile or Profile()
    known = _known(card, named)
    new = {field: value for field, value in written.items() if field not in known}
    name = before.name or new.get("name") or one_line(card.data.name)
    profile = before.model_copy(update={**new, "name": name})
    data = {} if named else {"name": name}
    if not card.greetings():
        data["first_mes"] = build_card(profile).data.first_mes
    made = card.model_copy(update={"profile": profile, "data": card.data.model_copy(update=data)})
    return made, (*new, *(field for field in data if field == "first_mes"))


def _known(card: CharacterCard, named: bool) -> Written:
    """The profile's fields of which the card says something, there or elsewhere."""
    profile = card.profile or Profile()
    known = {field: value for field in SYNTHESIS_LENGTHS if (value := getattr(profile, field))}
    if named:
        known.setdefault("name", card.data.name)
    if card.data.personality.strip():
        known.setdefault("personality", card.data.personality)
    return known


def _named(name: str | None) -> Written:
    return {} if name is None else {"name": " ".join(name.split())}


def _tell(card: CharacterCard, named: bool) -> str:
    """All that the card says of who it is, as one text that begins with the persona where there is one."""
    data = card.data
    profile = card.profile.lines().replace("\n", "; ") if card.profile else ""
    says = (card.persona, profile, data.description, data.personality, data.scenario, data.mes_example)
    text = " ".join(part.strip() for part in says if part.strip())
    name = data.name if named else "Somebody"
    return (card.expand(text) if text else name)[:MOST_CARD_CHARACTERS]
