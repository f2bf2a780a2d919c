"""Characters made up for training and evaluation: a card, and what is true of it."""

from dataclasses import dataclass, field
from random import Random
from typing import Any

from characters.card import CardData, CharacterCard, build_card
from characters.profile import Profile

from models.prompt import UserPersona
from models.synthesis.grammar import (
    capitalize,
    fill_known,
    fix_articles,
    load_grammar,
    split_items,
    split_lines,
    with_article,
)
from models.synthesis.imagination import Imagination
from models.synthesis.names import NameForge
from models.synthesis.values import Value
from models.synthesis.voices import PLAIN, load_voices

FREE_FIELDS = (
    "appearance",
    "general_experience",
    "personality",
    "likes",
    "fears",
    "friend",
    "secret",
    "goal",
)
_EXTRAS = ("speech_style", "likes", "fears", "friend", "secret", "goal")
_GENDERS = {
    "she": ["Female", "female", "woman", "Woman", "girl", "a woman"],
    "he": ["Male", "male", "man", "Man", "boy", "a man"],
    "they": ["Non-binary", "non-binary", "neither", "none", "Nonbinary"],
}
_SPOKEN_GENDERS = {
    "female": "a woman",
    "woman": "a woman",
    "male": "a man",
    "man": "a man",
    "girl": "a girl",
    "boy": "a boy",
}


@dataclass(frozen=True, slots=True)
class Character:
    """Somebody to talk with: the card, who the user plays, the voice, and what can be known.

    `values` holds only what the card says. `facts` is what the card says of the user, by kind of facts.yaml. `lore` are
    names of things with what is said of them, told in the description or before the last message.
    """

    card: CharacterCard
    user: UserPersona
    voice: str
    values: dict[str, Value]
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    lore: dict[str, str] = field(default_factory=dict)
    acts: bool = False
    """Whether replies may open with an *action*, as the greeting does."""


def imagine_character(
    random: Random, *, held_out: bool = False, full: bool = False, voice: str | None = None
) -> Character:
    """A character nobody has met. `held_out` takes names from the reserved syllables; `full` gives every field."""
    imagination = Imagination(random, NameForge(random, held_out=held_out))
    voices = load_voices()
    shape = 0.0 if full else random.random()
    voice = voice or random.choice([name for name in voices if name != PLAIN])
    if shape > 0.9:
        return _from_persona(imagination) if shape > 0.95 else _from_prose(imagination, voice)
    values = imagine_values(imagination)
    kept = dict(values)
    if not full:
        for name in (*FREE_FIELDS, "age", "gender", "race", "birth_place"):
            if random.random() < (0.12 if name in _EXTRAS else 0.03):
                del kept[name]
        if random.random() < 0.04:
            kept = {name: value for name, value in kept.items() if name not in _EXTRAS}
    fields = {name: value.card for name, value in kept.items()}
    style = _describe_voice(imagination, voice)
    where = random.random()
    if full or where < 0.88:
        fields["speech_style"] = style
    elif where > 0.94:
        voice, style = PLAIN, ""
    profile = Profile(**fields)
    data = _dress(imagination, profile.name, voice, style if not full and 0.88 <= where <= 0.94 else "")
    persona = (
        imagination.text(random.choice(split_lines(load_grammar("cards")["persona"]))) if random.random() < 0.4 else ""
    )
    card = CharacterCard(data=CardData(**data["card"]), profile=profile, persona=persona)
    if random.random() < 0.15:
        card = build_card(profile, persona)
        data["lore"] = {}
    facts, user = imagine_user(imagination)
    return Character(card, user, voice, kept, facts, data["lore"], "*" in card.data.first_mes)


def imagine_values(imagination: Imagination) -> dict[str, Value]:
    """All fields but the speech style."""
    random, forge = imagination.random, imagination.forge
    pronoun = random.choice(["she", "she", "she", "he", "he", "he", "they"])
    name = forge.person()
    perspective = random.choice([pronoun, pronoun, "I", "I", name.split()[0] if pronoun != "they" else "they"])
    gender = random.choice(_GENDERS[pronoun])
    values = {
        "name": Value(name, name),
        "age": _age(random),
        "gender": Value(gender, _SPOKEN_GENDERS.get(gender.lower(), gender[:1].lower() + gender[1:])),
        "race": _race(imagination),
        "birth_place": _birth_place(imagination),
    }
    for name in FREE_FIELDS:
        values[name] = imagination.value(name, pronoun, perspective)
    return values


def imagine_user(imagination: Imagination) -> tuple[dict[str, dict[str, str]], UserPersona]:
    """Who the user plays, with the facts that their persona tells."""
    random, forge = imagination.random, imagination.forge
    name = forge.name() if random.random() < 0.65 else "User"
    facts: dict[str, dict[str, str]] = {}
    sentences = []
    if random.random() < 0.4:
        kinds = [kind for kind, entry in load_grammar("facts").items() if isinstance(entry, dict) and kind != "name"]
        for kind in random.sample(kinds, random.randint(1, 3)):
            facts[kind] = imagine_fact(imagination, kind)
            line = load_grammar("facts")[kind]["persona"].strip()
            sentences.append(fix_articles(fill_known(line, {**facts[kind], "user": random.choice([name, "{{user}}"])})))
        if random.random() < 0.5:
            sentences.append(
                imagination.text(
                    fill_known(random.choice(split_lines(load_grammar("cards")["user_persona"])), {"user": name})
                )
            )
        random.shuffle(sentences)
    if name != "User":
        facts["name"] = {"f": name}
    return facts, UserPersona(name, " ".join(sentences))


def imagine_fact(imagination: Imagination, kind: str) -> dict[str, str]:
    """One thing about a user: `f`, the fact, and what else its lines name."""
    entry: dict[str, Any] = load_grammar("facts")[kind]
    extras = {slot: imagination.slot(slot) for slot in ("beast", "kin", "n")}
    return {"f": imagination.text(imagination.random.choice(entry["value"])), **extras}


def _describe_voice(imagination: Imagination, voice: str) -> str:
    random = imagination.random
    lines = load_voices()[voice].lines["describe"]
    text = lines[0] if random.random() < 0.3 else random.choice(lines)
    if random.random() < 0.25:
        extra = random.choice(
            [
                ", with {word} and {word}",
                ", mostly about {art}",
                " and {joy}",
                ", and a {word} in every sentence",
                ", even {time}",
            ]
        )
        text += imagination.text(extra)
    return capitalize(text) if random.random() < 0.3 else text


def _age(random: Random) -> Value:
    age = random.randint(7, 99) if random.random() < 0.85 else random.randint(100, 4000)
    if random.random() < 0.75:
        return Value(str(age), str(age), "digits")
    words = random.choice(
        ["{} years old", "about {}", "nearly {}", "{} or so", "{} winters", "{}, give or take", "almost {}"]
    ).format(age)
    return Value(words, words)


def _race(imagination: Imagination) -> Value:
    race = imagination.forge.word().capitalize() if imagination.random.random() < 0.35 else imagination.one("race")
    return Value(capitalize(race) if imagination.random.random() < 0.6 else race, race)


def _birth_place(imagination: Imagination) -> Value:
    line = imagination.random.choice(
        [
            "{Town}",
            "{Town}",
            "{Town}",
            "{Town}, {country}",
            "{Town}, {country}",
            "{Town}, {region} in {country}",
            "{Town}, {region}",
            "{region} near {Town}",
            "the {Word} Quarter of {Town}",
            "{Town}, {Place}",
            "{Town} on the {Word}",
        ]
    )
    place = imagination.text(line)
    return Value(capitalize(place) if imagination.random.random() < 0.5 else place, place)


def _dress(imagination: Imagination, name: str, voice: str, style: str) -> dict[str, Any]:
    """The card's data around a profile: prose, scenario, greeting, notes, each there or not; and the lore it tells."""
    random, cards = imagination.random, load_grammar("cards")

    def line(pool: str) -> str:
        return imagination.text(
            fill_known(random.choice(split_lines(cards[pool])), {"char": "{{char}}", "user": "{{user}}"})
        )

    data: dict[str, Any] = {"name": name}
    lore: dict[str, str] = {}
    sentences = [capitalize(line("prose")) for _ in range(random.choice([0, 0, 1, 2, 3]))]
    if random.random() < 0.25:
        thing, text = imagine_lore(imagination)
        lore[thing] = text.split(": ", 1)[1].removesuffix(".")
        sentences.append(text)
    if style:
        sentences.append(
            random.choice(
                [f"Way of speaking: {style}.", f"{{{{char}}}}'s speech: {style}.", f"Talks like this: {style}."]
            )
        )
    random.shuffle(sentences)
    data["description"] = " ".join(sentences)
    if random.random() < 0.5:
        data["scenario"] = line("scenario")
    acts = random.random() < 0.3
    if random.random() < 0.75:
        greeting = load_voices()[voice].line(random, "greet").replace("{char}", "{{char}}")
        data["first_mes"] = f"{line('action')} {greeting}" if acts else greeting
    if random.random() < 0.25:
        pools = random.sample(["yes", "thanks", "praise", "bye", "sad"], 2)
        asked = {
            "yes": "Is it true?",
            "thanks": "Thank you!",
            "praise": "I like you.",
            "bye": "I must go.",
            "sad": "I am sad.",
        }
        pairs = [
            f"{{{{user}}}}: {asked[pool]}\n{{{{char}}}}: {load_voices()[voice].line(random, pool)}" for pool in pools
        ]
        data["mes_example"] = "<START>\n" + "\n".join(pairs[: random.randint(1, 2)])
    if random.random() < 0.08:
        data["system_prompt"] = line("system_prompt")
    if random.random() < 0.12:
        data["post_history_instructions"] = random.choice(split_lines(cards["tail"]))
    return {"card": data, "lore": lore}


def imagine_lore(imagination: Imagination) -> tuple[str, str]:
    """A made-up thing: its name, and the sentence `name: what it is.`"""
    name = imagination.text(
        imagination.random.choice(["the {Word}", "{Word}", "the {Word} Gate", "the Night of {Word}", "{Name1} {Word}"])
    )
    line = imagination.random.choice(split_lines(load_grammar("cards")["lore"]))
    return name, imagination.text(fill_known(line, {"Lore": capitalize(name)}))


def _from_persona(imagination: Imagination) -> Character:
    """A card with one line and no profile; most questions can't be answered from it."""
    random = imagination.random
    name, trade, art, town = (
        imagination.forge.person(),
        imagination.trade(),
        imagination.one("art"),
        imagination.forge.town(),
    )
    trait = imagination.one("trait")
    line, known = random.choice(
        [
            (f"A {trait} {trade} with a penchant for {art}", ("general_experience", "likes")),
            (f"{trade} from {town}, {trait}", ("general_experience", "birth_place")),
            (f"{with_article(trade)} who loves {art}", ("general_experience", "likes")),
            (f"A {trait} {trade} from {town}", ("general_experience", "birth_place")),
        ]
    )
    truth = {
        "general_experience": Value(trade, with_article(trade), "noun"),
        "likes": Value(art, art),
        "birth_place": Value(town, town),
    }
    values = {
        "name": Value(name, name),
        "personality": Value(trait, trait, "loose"),
        **{key: truth[key] for key in known},
    }
    if "who loves" in line:
        del values["personality"]
    facts, user = imagine_user(imagination)
    data = CardData(name=name, first_mes=random.choice(["", f"Hello, {{{{user}}}}. I am {name}.", "Hello."]))
    return Character(CharacterCard(data=data, persona=capitalize(line)), user, PLAIN, values, facts)


def _from_prose(imagination: Imagination, voice: str) -> Character:
    """A card without a profile, whose description tells it all in sentences."""
    random, cards = imagination.random, load_grammar("cards")
    values = imagine_values(imagination)
    trade = imagination.trade()
    values["general_experience"] = Value(trade, with_article(trade), "noun")
    lines = random.sample(split_lines(cards["described"]), 4)
    said: dict[str, Value] = {"name": values["name"]}
    sentences = []
    for line in lines:
        slots = [slot for slot in values if "{" + slot + "}" in line]
        if any(values[slot].shape == "clause" for slot in slots if slot in ("fears", "goal")):
            continue
        filled = {slot: values[slot].spoken for slot in slots}
        if any(word in f" {text} " for text in filled.values() for word in (" I ", " me ", " my ", ". ")):
            continue
        if "{aTrade}" in line:
            said["general_experience"] = values["general_experience"]
        said |= {slot: values[slot] for slot in slots}
        sentences.append(
            fill_known(
                line,
                {**filled, "aTrade": with_article(trade), "char": random.choice(["{{char}}", values["name"].spoken])},
            )
        )
    style = f"{{{{char}}}}'s way of speaking: {_describe_voice(imagination, voice)}."
    data = CardData(
        name=values["name"].card,
        description=" ".join([*sentences, style]),
        first_mes=load_voices()[voice].line(random, "greet"),
    )
    facts, user = imagine_user(imagination)
    return Character(CharacterCard(data=data), user, voice, said, facts)


def lists(name: str) -> tuple[str, ...]:
    """A list of facts.yaml."""
    return split_items(load_grammar("facts")[name])
