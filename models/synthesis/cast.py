"""Characters made up for training and evaluation."""

from random import Random

from characters.card import CardData, CharacterCard, build_card
from characters.profile import Profile

from models.synthesis.character import Character
from models.synthesis.clothing import clothe
from models.synthesis.grammar import load_grammar, split_lines
from models.synthesis.imagination import Imagination
from models.synthesis.names import NameForge
from models.synthesis.sketches import sketch_in_a_line, sketch_in_prose
from models.synthesis.traits import FREE_FIELDS, describe_voice, imagine_values
from models.synthesis.users import imagine_user
from models.synthesis.voices import PLAIN, load_voices

_EXTRAS = ("speech_style", "likes", "fears", "friend", "secret", "goal")


def imagine_character(
    random: Random, *, held_out: bool = False, full: bool = False, voice: str | None = None
) -> Character:
    """A character nobody has met. `held_out` takes names from the reserved syllables; `full` gives every field."""
    imagination = Imagination(random, NameForge(random, held_out=held_out))
    voices = load_voices()
    shape = 0.0 if full else random.random()
    voice = voice or random.choice([name for name in voices if name != PLAIN])
    if shape > 0.9:
        return sketch_in_a_line(imagination) if shape > 0.95 else sketch_in_prose(imagination, voice)
    values = imagine_values(imagination)
    kept = dict(values)
    if not full:
        for name in (*FREE_FIELDS, "age", "gender", "race", "birth_place"):
            if random.random() < (0.12 if name in _EXTRAS else 0.03):
                del kept[name]
        if random.random() < 0.04:
            kept = {name: value for name, value in kept.items() if name not in _EXTRAS}
    fields = {name: value.card for name, value in kept.items()}
    style = describe_voice(imagination, voice)
    where = random.random()
    if full or where < 0.88:
        fields["speech_style"] = style
    elif where > 0.94:
        voice, style = PLAIN, ""
    profile = Profile(**fields)
    data = clothe(imagination, profile.name, voice, style if not full and 0.88 <= where <= 0.94 else "")
    persona = (
        imagination.text(random.choice(split_lines(load_grammar("cards")["persona"]))) if random.random() < 0.4 else ""
    )
    card = CharacterCard(data=CardData(**data["card"]), profile=profile, persona=persona)
    if random.random() < 0.15:
        card = build_card(profile, persona)
        data["lore"] = {}
    facts, user = imagine_user(imagination)
    return Character(card, user, voice, kept, facts, data["lore"], "*" in card.data.first_mes)
