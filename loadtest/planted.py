"""A chat of many turns into which facts about the user are planted, and what is asked for them long afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.workload import seeded


@dataclass(frozen=True, slots=True)
class Fact:
    """What the user says once in passing, how the character answers, and how it is asked for later.

    `within` is the message around it, `before` what was said earlier of the same thing and is no longer so.
    """

    told: str
    answer: str
    question: str
    within: str = "{told}"
    before: str = ""

    @property
    def message(self) -> str:
        return self.within.format(told=self.told)


@dataclass(frozen=True, slots=True)
class FactSet:
    """Facts, what other people do (without their names), and what else the user says."""

    facts: Sequence[Fact]
    news: Sequence[str]
    talk: Sequence[str] = ()


FACTS = (
    Fact(
        "My little sister Ottilie has just moved to Bergen.",
        "Bergen! It rains there, I hear.",
        "Where does my sister live now?",
    ),
    Fact(
        "I can't eat walnuts, my throat swells up at once.",
        "Then I shall keep them off the table.",
        "Is there any food I am allergic to?",
    ),
    Fact(
        "We buried our old dog Brandt on Sunday. He was fourteen.",
        "I am sorry. Fourteen years is a long friendship.",
        "Do you remember the name of my dog?",
    ),
    Fact("I repair church organs for a living.", "So you know what pipes whisper.", "What do I work as?"),
    Fact(
        "On the ninth of March I turn thirty-one.",
        "I will bake something, then.",
        "When is my birthday?",
    ),
    Fact(
        "My bike got stolen in front of the library yesterday.",
        "May the thief's tyres go flat.",
        "What happened to my bicycle?",
    ),
    Fact(
        "I once played the cello in a youth orchestra in Graz.",
        "I would have liked to listen.",
        "Which instrument did I play when I was young?",
    ),
    Fact(
        "The password of our club is 'seven herons'.",
        "My lips are sealed.",
        "What was the password of the club?",
    ),
    Fact(
        "My neighbour Mr. Okonjo lent me his ladder, and I still have it.",
        "A borrowed ladder grows heavier every week.",
        "Whose ladder do I have to give back?",
    ),
    Fact(
        "To be honest, I'm scared of lifts. I always take the stairs.",
        "Stairs never stop between two floors.",
        "What am I afraid of?",
    ),
    Fact(
        "Next summer I want to walk from Porto to Santiago.",
        "Take good shoes and little else.",
        "What are my plans for the summer?",
    ),
    Fact(
        "My grandmother left me a green fountain pen, I sign everything with it.",
        "A pen remembers the hand that held it.",
        "What did I inherit from my grandmother?",
    ),
    Fact(
        "Ruben and I got engaged on the ferry last night!",
        "Congratulations to you both!",
        "Who am I going to marry?",
    ),
    Fact(
        "I have been a vegetarian since I was twelve.",
        "That is most of a life.",
        "Would I like a steak for dinner?",
    ),
    Fact(
        "I failed my driving test twice, both times when parking.",
        "Third time lucky.",
        "How often did I fail the driving test?",
    ),
    Fact(
        "My flat is number 17, under the roof, with a leaking skylight.",
        "Put a bucket under it and call it music.",
        "What is wrong with the window in my flat?",
    ),
    Fact(
        "Doctor Lindqvist says my left knee needs an operation in autumn.",
        "Then we shall walk slowly until then.",
        "Which of my knees is to be operated on?",
    ),
    Fact(
        "I grew up on a lighthouse island called Hellnes.",
        "So the sea taught you to sleep.",
        "What was the island called where I spent my childhood?",
    ),
    Fact(
        "My favourite colour is the grey-blue of wet slate.",
        "A modest colour, and a lasting one.",
        "Which colour do I like best?",
    ),
    Fact(
        "I owe my cousin Tadeo four hundred euros.",
        "Debts to family are the heaviest.",
        "How much money do I owe, and to whom?",
    ),
)

# What is said between: of much the same things, but of other people, or of nothing.
_PEOPLE = ("A colleague", "The baker", "My old teacher", "A friend of a friend", "The man downstairs", "Your cook")
NEWS = (
    "has a sister who sells hats.",
    "bought a new bicycle and rides it to work.",
    "keeps a dog that barks at trams.",
    "wants to learn the violin.",
    "is afraid of nothing, or says so.",
    "was late again because of the snow.",
    "painted the door in a dreadful colour.",
    "talks of nothing but the summer.",
    "lost a wallet with some money in it.",
    "cooks fish every single day.",
    "went to the doctor for a cough.",
    "is said to marry soon.",
)
_TALK = (
    "What do you think of {thing}?",
    "I walked past {thing} today and thought of you.",
    "Tell me a story about {thing}.",
    "Have you ever dreamt of {thing}?",
    "Somebody in the market spoke of {thing} for an hour.",
    "I can't stop looking at {thing}.",
    "Would you trade {thing} for a good meal?",
    "There was a picture of {thing} in the paper.",
)
_THINGS = (
    "the old harbour",
    "the clock above the gate",
    "a field of poppies",
    "the moon tonight",
    "that broken bridge",
    "the smell of fresh bread",
    "the market on Saturdays",
    "an empty theatre",
    "the first frost",
    "a map without names",
    "the river in flood",
    "a letter that never came",
    "the rain on the roof",
    "the song of the blackbird",
    "a coat with deep pockets",
    "the last train",
    "the garden behind the church",
    "a bowl of hot soup",
    "the wind from the north",
    "a candle in a window",
)
_ANSWERS = (
    "It has its own way of being true.",
    "I would rather hear more of it from you.",
    "There are worse things to think of before sleep.",
    "Once I knew somebody who said just that.",
    "Come closer to the fire and go on.",
    "I like it better than I should.",
    "Nobody here would disagree.",
    "Ask me again when the kettle has boiled.",
    "You notice things that others walk past.",
    "That makes me laugh, and then it doesn't.",
)


PLANTED = FactSet(FACTS, NEWS)


def draw_chat(turns: int, seed: int = 0, planted: FactSet = PLANTED) -> list[tuple[str, str]]:
    """Pairs of what the user says and the answer; every fact stands once in the first two thirds, at its own place.

    What was said before of the same thing stands somewhere before it.
    """
    chance = seeded(seed)
    talk = [pattern.format(thing=thing) for pattern in _TALK for thing in _THINGS]
    of_others = [f"{who} {what}" for who in _PEOPLE for what in planted.news]
    filler = [*talk, *of_others, *planted.talk]
    chance.shuffle(filler)
    said = [(filler[turn % len(filler)], chance.choice(_ANSWERS)) for turn in range(turns)]
    for place, fact in zip(places(turns, seed, planted.facts), planted.facts, strict=True):
        said[place[-1]] = (fact.message, fact.answer)
        if fact.before:
            said[place[0]] = (fact.before, chance.choice(_ANSWERS))
    return said


def places(turns: int, seed: int = 0, facts: Sequence[Fact] = FACTS) -> list[list[int]]:
    """The turn of each fact, after that of what was said before of the same thing where something was."""
    updated = [index for index, fact in enumerate(facts) if fact.before]
    drawn = seeded(seed + 1).sample(range(2 * turns // 3), len(facts) + len(updated))
    found = [[place] for place in drawn[: len(facts)]]
    for index, place in zip(updated, drawn[len(facts) :], strict=True):
        found[index] = sorted([*found[index], place])
    return found
