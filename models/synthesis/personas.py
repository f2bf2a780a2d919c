"""Write characters, one JSON object a line:
`python -m models.synthesis.personas --count 1000 --out build/personas.jsonl`.

The same seed gives the same file. Each line also holds what is true of the character, which is what evaluation checks.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import orjson
from characters.card import parse_card
from rich.progress import track

from models.scene import UserPersona
from models.synthesis.cast import imagine_character
from models.synthesis.character import Character
from models.synthesis.values import Value


def dump_character(character: Character) -> dict[str, Any]:
    """A character as JSON."""
    return {
        "card": character.card.to_v3(),
        "user": asdict(character.user),
        "voice": character.voice,
        "values": {name: asdict(value) for name, value in character.values.items()},
        "facts": character.facts,
        "lore": character.lore,
        "acts": character.acts,
    }


def parse_character(row: dict[str, Any]) -> Character:
    """The character of a line."""
    return Character(
        card=parse_card(row["card"]),
        user=UserPersona(**row["user"]),
        voice=row["voice"],
        values={name: Value(**value) for name, value in row["values"].items()},
        facts=row["facts"],
        lore=row["lore"],
        acts=row["acts"],
    )


def imagine_characters(count: int, seed: int, *, held_out: bool = False, full: bool = False) -> Iterator[Character]:
    """`count` characters; number n of a seed is always the same."""
    for number in range(count):
        yield imagine_character(Random(f"{seed}/{number}/{held_out}"), held_out=held_out, full=full)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--held-out", action="store_true", help="use the syllables kept for evaluation")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    characters = imagine_characters(options.count, options.seed, held_out=options.held_out)
    part = options.out.with_suffix(".part")  # the output is there whole or not at all
    with part.open("wb") as file:
        for character in track(characters, "imagining", total=options.count):
            file.write(orjson.dumps(dump_character(character)) + b"\n")
    part.replace(options.out)


if __name__ == "__main__":
    main()
