"""What a card says, field by field."""

from models.synthesis.grammar import capitalize, load_grammar, split_lines
from models.synthesis.imagination import Imagination
from models.synthesis.values import Value
from models.synthesis.voices import load_voices

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
# Shares of what evaluation's cards don't have: long values full of rare words, ages without a number.
_LONG = 0.25
_IN_WORDS = 0.12


def imagine_values(imagination: Imagination) -> dict[str, Value]:
    """All fields but the speech style."""
    random, forge = imagination.random, imagination.forge
    pronoun = random.choice(["she", "she", "she", "he", "he", "he", "they"])
    name = forge.person()
    perspective = random.choice([pronoun, pronoun, "I", "I", name.split()[0] if pronoun != "they" else "they"])
    gender = random.choice(_GENDERS[pronoun])
    values = {
        "name": Value(name, name),
        "age": _age(imagination),
        "gender": Value(gender, _SPOKEN_GENDERS.get(gender.lower(), gender[:1].lower() + gender[1:])),
        "race": _race(imagination),
        "birth_place": _birth_place(imagination),
    }
    for name in FREE_FIELDS:
        long = not forge.held_out and random.random() < _LONG
        values[name] = imagination.value(name, pronoun, perspective, long=long)
    return values


def describe_voice(imagination: Imagination, voice: str) -> str:
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


def _age(imagination: Imagination) -> Value:
    random = imagination.random
    if not imagination.forge.held_out and random.random() < _IN_WORDS:
        words = imagination.text(random.choice(split_lines(load_grammar("values")["ageless"])))
        return Value(capitalize(words) if random.random() < 0.3 else words, words, "words")
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
