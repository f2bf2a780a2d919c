"""What the known sources and teachers allow, so that nobody trains a product on what forbids it without being told.

A source is known by its name, or by what its rows look like. What isn't known here isn't thereby free.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console

PURPOSES = ("commercial", "research")

# `family`: only models of the teacher's own family may be trained on it.
Restriction = Literal["non-commercial", "family"]


@dataclass(frozen=True, slots=True)
class Licence:
    """The terms of one source. `signs` are found in its name, in lower case."""

    title: str
    terms: str
    signs: tuple[str, ...]
    restrictions: tuple[Restriction, ...] = ()

    def warning(self, purpose: str) -> str:
        """What to tell whoever trains for `purpose` on it; empty where there is nothing to tell."""
        told = []
        if "non-commercial" in self.restrictions and purpose == "commercial":
            told.append("not for commercial use (--purpose research says that yours isn't)")
        if "family" in self.restrictions:
            told.append("may train models of the same family alone")
        return f"{self.title} ({self.terms}): {'; '.join(told)}" if told else ""


LICENCES = (
    Licence(
        "Persona Hub",
        "CC BY-NC-SA 4.0, for research",
        ("personahub", "persona-hub", "persona_hub", "ph-instruct"),
        ("non-commercial",),
    ),
    Licence("Alpaca", "CC BY-NC 4.0", ("alpaca",), ("non-commercial",)),
    Licence("LIMA", "CC BY-NC-SA, or stricter where a source of it is", ("lima",), ("non-commercial",)),
    Licence(
        "OpenCharacter's released data",
        "labelled Apache 2.0, made by Llama 3 from Persona Hub, Alpaca and LIMA",
        ("xywang1/opencharacter", "synthetic_character", "synthetic_dialogue"),
        ("non-commercial", "family"),
    ),
    Licence(
        "Llama 3",
        "Llama 3 Community License; the trained model's name begins with “Llama 3”",
        ("llama-3", "llama3"),
        ("family",),
    ),
    Licence("GPT", "OpenAI's terms: not for models that compete with theirs", ("gpt-",), ("family",)),
)


def find_licences(names: Iterable[str]) -> list[Licence]:
    """The licences of what is known among sources and teachers of these names, each once."""
    found = [licence for name in names for licence in LICENCES if any(sign in name.lower() for sign in licence.signs)]
    return list(dict.fromkeys(found))


def warn_of_licences(console: Console, names: Iterable[str], purpose: str) -> list[Licence]:
    """Say what forbids training for `purpose` on these sources; returns all of their licences."""
    licences = find_licences(names)
    for warning in filter(None, (licence.warning(purpose) for licence in licences)):
        console.print(f"mind the licence: {warning}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    return licences


def recognize(row: Mapping[str, Any]) -> str:
    """The name of the dataset whose rows look like this one; empty for none that is known."""
    if {"input persona", "synthesized text"} <= row.keys():
        return "PersonaHub"
    if {"instruction", "input", "output"} <= row.keys():
        return "alpaca"
    if "conversations" in row and isinstance(row.get("source"), str):
        return "lima"
    return ""
