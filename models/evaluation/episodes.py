"""Conversations to measure with: held-out characters, and a plan of what is asked of each, in order."""

from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from models.synthesis.cast import imagine_character
from models.synthesis.character import Character
from models.synthesis.grammar import capitalize, choose_branches, fill_known, load_grammar, split_lines
from models.synthesis.imagination import Imagination
from models.synthesis.names import NameForge
from models.synthesis.portraits import imagine_portrait
from models.synthesis.traits import FREE_FIELDS
from models.synthesis.users import imagine_fact
from models.synthesis.voices import PLAIN, load_voices

FIELDS = ("name", "age", "birth_place", "race", *FREE_FIELDS)
_FACTS = ("name", "pet", "town", "job", "food", "kin", "colour", "hobby", "companion", "journey")
_TALK = ("hello", "fine", "outside", "machine", "sad", "praise", "thanks", "bye")
# Nobody of these is in the training data; they are what a user might type.
PERSONAS = (
    "A cynical detective with a penchant for jazz music",
    "A retired astronaut who grows orchids on the balcony",
    "a goth teenager who repairs accordions",
    "An overworked ER nurse in Lagos who writes haiku on prescription pads",
    "A medieval tax inspector afraid of geese",
    "The ghost of a ballroom pianist, still looking for the last waltz",
    "A Norwegian tugboat captain, mother of four, proud and impatient",
    "grumpy old wizard",
    "A shy quantum physicist who talks to pigeons",
    "A street magician from Naples with gambling debts",
    "An android butler who collects antique spoons",
    "A ten-year-old inventor with a pet lobster",
    "El último farero de la isla",
    "A chef. Loves fire. Hates people.",
    'A "very" odd <b>punctuated</b> librarian \\ archivist, 100% {{char}}',
    "x",
    "A marathon-running grandmother who knits on the way",
    "Someone who lost a bet with the moon",
    "A sarcastic barista saving up for a submarine",
    "A blind cartographer who draws coasts by their sound",
)


@dataclass(frozen=True, slots=True)
class Question:
    """One message of the user's, and what its reply is measured for."""

    text: str
    kind: Literal["talk", "field", "tell", "recall"]
    about: str = ""
    """The field of the card, or the kind of fact."""
    wanted: str = ""
    """What the user said, for `recall`."""


@dataclass(frozen=True, slots=True)
class Episode:
    """A character and the questions that are put to them."""

    character: Character
    questions: tuple[Question, ...]


def build_episodes(count: int, seed: int) -> list[Episode]:
    """`count` episodes with characters of reserved names, all fields filled, each voice as often as any other."""
    voices = sorted(name for name in load_voices() if name != PLAIN)
    return [_build_episode(Random(f"recall/{seed}/{number}"), voices[number % len(voices)]) for number in range(count)]


def build_long_episodes(count: int, seed: int, turns: int) -> list[Episode]:
    """The same characters in conversations of so many turns, ten after ten: four of each ten ask about the card.

    What the user tells in a ten is asked for five turns later, and again three tens later.
    """
    return [
        replace(episode, questions=_stretch(Random(f"long/{seed}/{number}"), episode, turns))
        for number, episode in enumerate(build_episodes(count, seed))
    ]


def build_personas(count: int, seed: int) -> list[str]:
    """`count` personas to write profiles for: the hand-written ones, then made-up ones with reserved names."""
    made_up = (imagine_portrait(Random(f"portrait/{seed}/{number}"), held_out=True)[0] for number in range(count))
    return [*PERSONAS, *made_up][:count]


def _build_episode(random: Random, voice: str) -> Episode:
    character = imagine_character(random, held_out=True, full=True, voice=voice)
    imagination = Imagination(random, NameForge(random, held_out=True))
    fields = [_field_question(imagination, field) for field in random.sample(FIELDS, len(FIELDS))]
    talk = [_talk_question(imagination, kind) for kind in random.sample(_TALK, 4)]
    known = {"name"} if character.user.name != "User" else set()
    kinds = random.sample([kind for kind in _FACTS if kind not in known and kind not in character.facts], 2)
    (tell_one, ask_one), (tell_two, ask_two) = (_fact_questions(imagination, kind) for kind in kinds)
    questions = (
        talk[0],
        *fields[:2],
        tell_one,
        fields[2],
        fields[3],
        ask_one,
        talk[1],
        *fields[4:7],
        tell_two,
        fields[7],
        talk[2],
        ask_two,
        *fields[8:],
        talk[3],
    )
    return Episode(character, questions)


def _stretch(random: Random, episode: Episode, turns: int) -> tuple[Question, ...]:
    imagination = Imagination(random, NameForge(random, held_out=True))
    known = {question.about for question in episode.questions if question.kind == "recall"}
    kinds = [kind for kind in _FACTS if kind not in episode.character.facts]
    facts = [_fact_questions(imagination, kind) for kind in random.sample(kinds, len(kinds)) if kind != "name" or known]
    questions: list[Question] = []
    fields: list[str] = []
    for ten in range(-(-turns // 10)):
        fields += random.sample(FIELDS, len(FIELDS))
        asked, fields = [_field_question(imagination, field) for field in fields[:4]], fields[4:]
        talk = [_talk_question(imagination, kind) for kind in random.sample(_TALK, 4)]
        tell, recall = facts[ten] if ten < len(facts) else (talk[2], talk[3])
        again = facts[ten - 3][1] if 3 <= ten < len(facts) + 3 else talk[1]
        questions += [asked[0], talk[0], tell, asked[1], again, asked[2], talk[1], recall, asked[3], talk[2]]
    return tuple(questions[:turns])


def _field_question(imagination: Imagination, field: str) -> Question:
    return Question(_ask(imagination, field), "field", field)


def _talk_question(imagination: Imagination, kind: str) -> Question:
    return Question(_ask(imagination, kind), "talk", kind)


def _ask(imagination: Imagination, kind: str) -> str:
    lines = [line for line in load_grammar("questions")[kind] if "{" not in str(line)]
    return choose_branches(imagination.random, str(imagination.random.choice(lines)))


def _fact_questions(imagination: Imagination, kind: str) -> tuple[Question, Question]:
    fact, entry = imagine_fact(imagination, kind), load_grammar("facts")[kind]
    told = capitalize(fill_known(imagination.random.choice(split_lines(entry["tell"])), fact))
    asked = fill_known(imagination.random.choice(split_lines(entry["ask"])), fact)
    return Question(told, "tell", kind), Question(asked, "recall", kind, fact["f"])
