"""The dialogues of the embedded model, one JSON object a line, and the profile task among them:
`python -m models.synthesis.smalltalk build/personas.jsonl --out build/dialogues.jsonl`.

A row is either `{card, user, messages, tail?, extra?, recap?, stage?, scenario?}` or `{persona, profile}`. The same
characters, seed and shares give the same rows.
"""

import argparse
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import orjson
from rich.progress import track

from models.sections import tail_text
from models.synthesis.character import Character
from models.synthesis.conversation import Conversation
from models.synthesis.drills import hold_drill
from models.synthesis.grammar import load_grammar, split_lines
from models.synthesis.impersonation import build_impersonation
from models.synthesis.longtalk import build_long_talk, build_remembered_talk
from models.synthesis.personas import parse_character
from models.synthesis.portraits import imagine_portrait
from models.synthesis.scenes import build_cast_scene
from models.synthesis.talk import Talk

PORTRAIT_SHARE = 0.08
DRILL_SHARE = 0.3
# Some 2,700 tokens with the card before it.
LONGEST = 5500
_EXCHANGES = (3, 6, 8, 8, 10, 10, 12, 12, 14, 16, 20, 30, 40)
# Where talks may be longer than usual, most of them are: short rows are to be had for less.
_LONG_EXCHANGES = (10, 12, 14, 16, 20, 30, 40)


def hold_talk(character: Character, random: Random, longest: int = LONGEST) -> Conversation:
    """A conversation of three to forty exchanges with `character`, or of more where it may be longer than usual."""
    talk = Talk(character, random)
    if random.random() < 0.75:
        talk.conversation.greet()
    exchanges = random.choice(_LONG_EXCHANGES if longest > LONGEST else _EXCHANGES) * max(1, longest // LONGEST)
    if random.random() < 0.35:
        talk.chatter.chat("hello")
    while exchanges and sum(len(text) for _, text in talk.conversation.messages) < longest:
        talk.go_on()
        exchanges -= 1
    if random.random() < 0.08:
        talk.interview.end_with_lore()
    elif random.random() < 0.15:
        talk.chatter.chat(random.choice(("bye", "bye", "goodnight")))
    return talk.conversation


def build_dialogue(
    character: Character, random: Random, *, drill: bool = False, longest: int = LONGEST
) -> dict[str, Any]:
    """A row that holds a conversation, or a drill on the bare profile."""
    drilled = drill and character.card.profile
    talk = hold_drill(character, random) if drilled else hold_talk(character, random, longest)
    character = talk.character
    row: dict[str, Any] = {
        "card": character.card.to_v3(),
        "user": asdict(character.user),
        "messages": [{"role": role, "content": text} for role, text in talk.messages],
    }
    tail = "\n\n".join(part for part in (talk.tail, tail_text(character.card, character.user)) if part)
    if tail:
        row["tail"] = tail
    if random.random() < 0.05:
        row["extra"] = random.choice(split_lines(load_grammar("cards")["extra"]))
    return row


def build_portrait(random: Random) -> dict[str, Any]:
    """A row that holds a persona and its profile."""
    persona, profile = imagine_portrait(random)
    return {"persona": persona, "profile": profile.model_dump()}


def build_rows(
    characters: Iterable[Character],
    seed: int,
    *,
    longer: float = 0.0,
    scenes: float = 0.0,
    impersonated: float = 0.0,
    drills: float = DRILL_SHARE,
    longest: int = LONGEST,
) -> Iterator[dict[str, Any]]:
    """A dialogue or a drill for each character, in order, with portraits strewn in between.

    Shares of them are `longer` than what is still told of them, `scenes` with the characters just before, or end with
    a line of the user's that is `impersonated`. Of the others a share are `drills`; `longest` is in characters, for the
    rest.
    """
    latest: deque[Character] = deque(maxlen=4)
    for number, character in enumerate(characters):
        random = Random(f"{seed}/{number}")
        latest.append(character)
        if random.random() < PORTRAIT_SHARE / (1 - PORTRAIT_SHARE):
            yield build_portrait(random)
        kind = Random(f"{seed}/{number}/kind").random()
        if kind < longer:
            build = build_long_talk if kind < longer / 2 else build_remembered_talk
            yield build(character, random)
        elif kind < longer + scenes and len(latest) > 1:
            yield build_cast_scene([character, *random.sample(list(latest)[:-1], min(len(latest) - 1, 2))], random)
        elif longer + scenes <= kind < longer + scenes + impersonated:
            yield build_impersonation(character, random)
        else:
            yield build_dialogue(character, random, drill=random.random() < drills, longest=longest)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("personas", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longer", type=float, default=0.0, help="share of talks with a recap or with memories")
    parser.add_argument("--scenes", type=float, default=0.0, help="share of scenes of several characters")
    parser.add_argument("--impersonated", type=float, default=0.0, help="share that ends with a line of the user's")
    parser.add_argument("--drills", type=float, default=DRILL_SHARE, help="share of drills among the others")
    parser.add_argument("--longest", type=int, default=LONGEST, help="characters of a talk")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    part = options.out.with_suffix(".part")  # the output is there whole or not at all
    with options.personas.open("rb") as source, part.open("wb") as file:
        characters = (parse_character(orjson.loads(line)) for line in source)
        shares = {"longer": options.longer, "scenes": options.scenes, "impersonated": options.impersonated}
        rows = build_rows(characters, options.seed, drills=options.drills, longest=options.longest, **shares)
        for row in track(rows, "talking", total=None):
            file.write(orjson.dumps(row) + b"\n")
    part.replace(options.out)


if __name__ == "__main__":
    main()
