"""One-line personas with the profile that belongs to them: what the model learns to write for `build_profile_turns`."""

import re
from random import Random

from characters.profile import SYNTHESIS_LENGTHS, Profile

from models.synthesis.grammar import capitalize, fill, load_grammar, split_lines, with_article
from models.synthesis.imagination import Imagination
from models.synthesis.names import NameForge
from models.synthesis.values import inflect
from models.synthesis.voices import PLAIN, load_voices

_FEMALE, _MALE = ("woman", "girl", "mother", "widow", "nun"), ("man", "boy", "father", "widower", "monk")
_VOICES_OF = {
    "detective": "noir",
    "spy": "noir",
    "gambler": "noir",
    "sailor": "sailor",
    "ferryman": "sailor",
    "pirate": "sailor",
    "fisherman": "sailor",
    "poet": "poetic",
    "painter": "poetic",
    "composer": "poetic",
    "professor": "scholarly",
    "historian": "scholarly",
    "librarian": "scholarly",
    "archivist": "scholarly",
    "physicist": "scholarly",
    "shepherd": "folksy",
    "beekeeper": "folksy",
    "gardener": "folksy",
    "goat herd": "folksy",
    "fortune teller": "mystic",
    "witch": "mystic",
    "exorcist": "mystic",
    "knight": "archaic",
    "squire": "archaic",
    "monk": "archaic",
    "priestess": "archaic",
    "butler": "formal",
    "ambassador": "formal",
    "diplomat": "formal",
    "judge": "formal",
    "nurse": "gentle",
    "midwife": "gentle",
    "healer": "gentle",
    "actor": "theatrical",
    "magician": "theatrical",
    "singer": "theatrical",
    "hunter": "terse",
    "soldier": "terse",
    "boxer": "street",
    "tattooist": "street",
    "drummer": "street",
    "clown": "cheerful",
    "dancer": "cheerful",
    "blacksmith": "gruff",
    "smith": "gruff",
    "gravedigger": "gruff",
    "night watchman": "gruff",
    "journalist": "sarcastic",
    "lawyer": "sarcastic",
    "barber": "folksy",
}
_TEMPERS = {
    "cynical": "noir",
    "shy": "hesitant",
    "timid": "hesitant",
    "awkward": "hesitant",
    "cheerful": "cheerful",
    "blunt": "terse",
    "silent": "terse",
    "gentle": "gentle",
    "tender": "gentle",
    "stern": "gruff",
    "witty": "sarcastic",
    "dreamy": "poetic",
    "superstitious": "mystic",
}


def imagine_portrait(random: Random, *, held_out: bool = False) -> tuple[str, Profile]:
    """A persona and a profile in which what the persona says comes back."""
    imagination = Imagination(random, NameForge(random, held_out=held_out))
    heard: dict[str, list[str]] = {}

    def hear(slot: str) -> str:
        text = imagination.slot(slot)
        key = {
            "aTrade": "trade",
            "ATrade": "trade",
            "art_s": "art",
            "joy_s": "art",
            "word": "art",
            "Place": "place",
            "Name1": "name",
        }.get(slot, slot)
        bare = re.sub(r"^(a|an) ", "", text, flags=re.IGNORECASE) if key == "trade" else text
        heard.setdefault(key, []).append(bare[:1].lower() + bare[1:] if key == "trade" else bare)
        return text

    persona = _vary(random, fill(random.choice(split_lines(load_grammar("cards")["persona"])), hear))
    persona = inflect(persona, "they")
    pronoun = _pronoun(random, persona)
    voice = _voice(random, heard)
    return persona, _bounded(_fields(imagination, heard, persona, pronoun, voice))


def _vary(random: Random, persona: str) -> str:
    """A persona with a word of sex or age in it, now and then, or in small letters."""
    if persona.startswith("A ") and random.random() < 0.15:
        persona += random.choice(
            [
                ", a widow",
                ", mother of four",
                ", father of three",
                ", a woman of few words",
                ", a man of the old school",
            ]
        )
    if random.random() < 0.15:
        persona = persona.lower()
    return persona + "." if random.random() < 0.3 else capitalize(persona) if random.random() < 0.7 else persona


def _pronoun(random: Random, persona: str) -> str:
    said = set(re.findall(r"\w+", persona.lower()))
    if said & set(_FEMALE):
        return "she"
    if said & set(_MALE):
        return "he"
    return random.choice(["she", "she", "he", "he", "they"])


def _voice(random: Random, heard: dict[str, list[str]]) -> str:
    for trait in heard.get("trait", []):
        if trait in _TEMPERS:
            return _TEMPERS[trait]
    for trade in heard.get("trade", []):
        if trade in _VOICES_OF:
            return _VOICES_OF[trade]
    return random.choice([name for name in load_voices() if name != PLAIN])


def _age(random: Random, persona: str) -> int:
    if re.search(r"\b(old|retired|widow|last)\b", persona.lower()):
        return random.randint(58, 88)
    return random.randint(15, 26) if "young" in persona.lower() else random.randint(24, 64)


def _fields(
    imagination: Imagination, heard: dict[str, list[str]], persona: str, pronoun: str, voice: str
) -> dict[str, str]:
    random, text = imagination.random, imagination.text
    trade = heard.get("trade", [imagination.one("trade")])
    place = (heard.get("place") or [imagination.forge.town()])[0]
    traits = [*heard.get("trait", []), *(imagination.one("trait") for _ in range(3))][: random.choice([2, 3, 3])]
    arts = [*heard.get("art", []), *(imagination.slot(random.choice(["art", "joy"])) for _ in range(2))][
        : max(2, len(heard.get("art", [])))
    ]
    years = random.randint(2, 30)
    name = heard["name"][0] + " " + imagination.forge.name() if "name" in heard else imagination.forge.person()
    experience = random.choice(
        [
            f"{years} years as {with_article(trade[0])} in {{Place}}, hired mostly by {{crowd}}",
            f"has worked as {with_article(trade[0])} in {place} for {years} years, and once {{deed}} for {{Person}}",
            f"learned the trade of {with_article(trade[0])} from {{Person}} in {{Place}}; {years} years of it so far",
            f"{with_article(trade[0])} since youth, first in {{Place}}, then in {place}, known to {{crowd}}",
        ]
    )
    if len(trade) > 1:
        experience += f"; also {with_article(trade[1])}"
    if "deed" in heard:
        experience += f"; {heard['deed'][0]}"
    friend = (
        f"{imagination.forge.name()}, a {heard['beast'][0]}"
        if "beast" in heard
        else imagination.value("friend", pronoun, pronoun).card
    )
    habit = heard["habit_1"][0] if "habit_1" in heard else imagination.slot("habit")
    fields = {
        "name": name,
        "age": str(_age(random, persona)),
        "gender": {"she": "woman", "he": "man", "they": "non-binary"}[pronoun],
        "race": heard["race"][0] if "race" in heard else imagination.one("race"),
        "birth_place": place if random.random() < 0.5 else f"{place}, {imagination.one('country')}",
        "appearance": capitalize(imagination.value("appearance", pronoun, pronoun).card),
        "general_experience": capitalize(text(experience)) + ".",
        "personality": capitalize(", ".join(traits[:-1]) + f" and {traits[-1]}. ") + capitalize(habit) + ".",
        "speech_style": load_voices()[voice].lines["describe"][0],
        "likes": " and ".join(arts) if len(arts) < 3 else f"{', '.join(arts[:-1])} and {arts[-1]}",
        "fears": heard["dread"][0] if "dread" in heard else imagination.one("dread"),
        "friend": friend,
        "secret": imagination.value("secret", pronoun, "I").card,
        "goal": f"to find {heard['aThing'][0]}" if "aThing" in heard else imagination.value("goal", pronoun, "I").card,
    }
    return {field: inflect(value, pronoun) for field, value in fields.items()}


def _bounded(fields: dict[str, str]) -> Profile:
    """A profile whose values hold what constrained decoding allows: no quotes, no more than their length."""
    clean = {field: " ".join(value.replace('"', "'").replace("\\", "").split()) for field, value in fields.items()}
    return Profile(**{field: value[: SYNTHESIS_LENGTHS[field]].strip() for field, value in clean.items()})
