"""Rows of the data as token ids: rendered by the very code that serves, with a mask for what the model itself says."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from characters.card import parse_card
from characters.profile import Profile

from models.renderer import Renderer, Turn
from models.scene import Scene, UserPersona
from models.sections import build_head, head_messages
from models.synthesis.profile_prompt import SYSTEM, build_profile_turns, render_profile

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation: its ids, and which of them are replies (with the token that ends each)."""

    token_ids: Ids
    is_reply: npt.NDArray[np.bool_]


def read_rows(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """The rows of JSONL files, one after the other."""
    for path in paths:
        with path.open("rb") as file:
            yield from map(orjson.loads, file)


def build_turns(renderer: Renderer, row: dict[str, Any]) -> tuple[list[Turn], list[Turn]]:
    """A row's head and its conversation, as they are served: the tail stands before the last user's."""
    if "profile" in row:
        profile = Profile.model_validate(row["profile"])
        reply = Turn("assistant", renderer.encode(render_profile(profile)))
        return [], [*build_profile_turns(renderer, row["persona"]), reply]
    head = build_head(renderer.encode, build_scene(row))
    turns = [Turn(message["role"], renderer.encode(message["content"])) for message in row["messages"]]
    if tail := row.get("tail"):
        last_user = max(index for index, turn in enumerate(turns) if turn.role == "user")
        turns.insert(last_user, Turn("system", renderer.encode(tail)))
    return head, turns


def build_scene(row: dict[str, Any]) -> Scene:
    """Who talks with whom in a row that holds a dialogue."""
    return Scene(parse_card(row["card"]), UserPersona(**row["user"]), row.get("extra", ""))


def build_example(renderer: Renderer, row: dict[str, Any]) -> Example:
    """A row as ids and mask, exactly as the renderer closes every turn. The card's examples are no replies."""
    head, turns = build_turns(renderer, row)
    segments = list(renderer.segments([*head, *turns]))
    ids = np.fromiter((token for segment in segments for token in segment.token_ids), dtype=np.int32)
    mask = np.repeat([segment.is_reply for segment in segments], [len(segment.token_ids) for segment in segments])
    mask[: sum(len(segment.token_ids) for segment in renderer.segments(head))] = False
    return Example(ids, mask)


def row_texts(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Every text that a vocabulary has to spell."""
    for row in rows:
        if "profile" in row:
            yield SYSTEM
            yield row["persona"]
            yield render_profile(Profile.model_validate(row["profile"]))
        else:
            yield from (message.text for message in head_messages(build_scene(row)))
            for message in row["messages"]:
                yield message["content"]
