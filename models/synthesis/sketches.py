"""Characters whose card has no profile: one line, or a few sentences of prose."""

from characters.card import CardData, CharacterCard

from models.synthesis.character import Character
from models.synthesis.grammar import capitalize, fill_known, load_grammar, split_lines, with_article
from models.synthesis.imagination import Imagination
from models.synthesis.traits import describe_voice, imagine_values
from models.synthesis.users import imagine_user
from models.synthesis.values import Value
from models.synthesis.voices import PLAIN, load_voices


def sketch_in_a_line(imagination: Imagination) -> Character:
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


def sketch_in_prose(imagination: Imagination, voice: str) -> Character:
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
    style = f"{{{{char}}}}'s way of speaking: {describe_voice(imagination, voice)}."
    data = CardData(
        name=values["name"].card,
        description=" ".join([*sentences, style]),
        first_mes=load_voices()[voice].line(random, "greet"),
    )
    facts, user = imagine_user(imagination)
    return Character(CharacterCard(data=data), user, voice, said, facts)
