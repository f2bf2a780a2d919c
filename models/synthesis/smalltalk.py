"""The dialogues of the embedded model, one JSON object a line, and the profile task among them:
`python -m models.synthesis.smalltalk build/personas.jsonl --out build/dialogues.jsonl`.

A row is either `{card, user, messages, tail?, extra?}` or `{persona, profile}`. The same file of characters and the
same seed give the same rows.
"""

import argparse
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
from models.synthesis.personas import parse_character
from models.synthesis.portraits import imagine_portrait
from models.synthesis.talk import Talk

PORTRAIT_SHARE = 0.08
DRILL_SHARE = 0.3
# About four characters a token: nothing longer than two thousand tokens of talk.
_LONGEST = 5500


def hold_talk(character: Character, random: Random) -> Conversation:
    """A conversation of six to forty exchanges with `character`."""
    talk = Talk(character, random)
    if random.random() < 0.75:
        talk.conversation.greet()
    exchanges = random.choice([3, 6, 8, 8, 10, 10, 12, 12, 14, 16, 20, 30, 40])
    if random.random() < 0.35:
        talk.chatter.chat("hello")
    while exchanges and sum(len(text) for _, text in talk.conversation.messages) < _LONGEST:
        talk.go_on()
        exchanges -= 1
    if random.random() < 0.08:
        talk.interview.end_with_lore()
    elif random.random() < 0.15:
        talk.chatter.chat("bye")
    return talk.conversation


def build_dialogue(character: Character, random: Random, *, drill: bool = False) -> dict[str, Any]:
    """A row that holds a conversation, or a drill on the bare profile."""
    talk = hold_drill(character, random) if drill and character.card.profile else hold_talk(character, random)
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


def build_rows(characters: Iterable[Character], seed: int) -> Iterator[dict[str, Any]]:
    """A dialogue or a drill for each character, in order, with portraits strewn in between."""
    for number, character in enumerate(characters):
        random = Random(f"{seed}/{number}")
        if random.random() < PORTRAIT_SHARE / (1 - PORTRAIT_SHARE):
            yield build_portrait(random)
        yield build_dialogue(character, random, drill=random.random() < DRILL_SHARE)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("personas", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.personas.open("rb") as source, options.out.open("wb") as file:
        characters = (parse_character(orjson.loads(line)) for line in source)
        for row in track(build_rows(characters, options.seed), "talking", total=None):
            file.write(orjson.dumps(row) + b"\n")


if __name__ == "__main__":
    main()
