"""Rows of the data as token ids: rendered by the very code that serves, with a mask for what the model itself says.

A row is a dialogue `{card, user?, messages, extra?, recap?, tail?, stage?, scenario?}`, bare `messages` without a card,
or a persona with its profile.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from characters.card import CardData, CharacterCard, parse_card
from characters.profile import Profile

from models.renderer import Renderer, Turn
from models.scene import Scene, Stage, UserPersona
from models.sections import build_head, build_insertions, build_recap, head_messages, recap_messages
from models.stage import heading
from models.synthesis.profile_prompt import SYSTEM, build_profile_turns, render_profile

Ids = npt.NDArray[np.int32]
Row = dict[str, Any]
_ROLES = ("system", "user", "assistant")


class BadRow(ValueError):
    """A row that nothing can be learned from; the message is the reason by which it is counted."""


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation: its ids, and which of them are replies (with the token that ends each)."""

    token_ids: Ids
    is_reply: npt.NDArray[np.bool_]


def read_rows(paths: Iterable[Path]) -> Iterator[Row]:
    """The rows of JSONL files, one after the other. Raises JSON's ValueError."""
    for path in paths:
        with path.open("rb") as file:
            yield from (orjson.loads(line) for line in file if line.strip())


def parse_row(line: bytes) -> Row:
    """A line as a row that can be rendered. Raises BadRow."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise BadRow("broken JSON") from None
    if not isinstance(row, dict):
        raise BadRow("not an object")
    if "character_answer" in row:
        raise BadRow("released rows, which models.synthesis.released makes ours")
    if "profile" in row and "messages" not in row:
        if not isinstance(row.get("persona"), str):
            raise BadRow("no persona")
        return row
    messages = row.get("messages")
    if not messages:
        raise BadRow("no messages")
    if not isinstance(messages, list) or not all(map(_is_message, messages)):
        raise BadRow("bad messages")
    if not any(message["role"] == "assistant" for message in messages):
        raise BadRow("no reply")
    if row.get("tail") and not any(message["role"] == "user" for message in messages):
        raise BadRow("a tail without a user")
    return row


def build_turns(renderer: Renderer, row: Row) -> tuple[list[Turn], list[Turn]]:
    """A row's head and its conversation, as they are served: the tail stands before the last user's.

    In a scene of a cast each line begins with a name, and what the speaker alone is told stands before the last one.
    """
    encode = renderer.encode
    if "messages" not in row:
        reply = Turn("assistant", encode(render_profile(Profile.model_validate(row["profile"]))))
        return [], [*build_profile_turns(renderer, row["persona"]), reply]
    if "card" not in row:
        return [], [Turn(message["role"], encode(message["content"])) for message in row["messages"]]
    scene = build_scene(row)
    head = [*build_head(encode, _shared(scene, row)), *build_recap(encode, row.get("recap", ""))]
    turns = [_turn(renderer, message, in_scene=scene.stage is not None) for message in row["messages"]]
    if scene.stage:
        turns[-1:-1] = [insertion.turn for insertion in build_insertions(encode, scene)]
    elif tail := row.get("tail"):
        last_user = max(index for index, turn in enumerate(turns) if turn.role == "user")
        turns.insert(last_user, Turn("system", encode(tail)))
    return head, turns


def build_scene(row: Row) -> Scene:
    """Who talks with whom in a row that holds a dialogue; in a cast's, what its speaker is told."""
    stage = Stage(**row["stage"]) if row.get("stage") else None
    return Scene(parse_card(row["card"]), UserPersona(**row.get("user") or {}), row.get("extra", ""), stage=stage)


def build_example(renderer: Renderer, row: Row) -> Example:
    """A row as ids and mask, exactly as the renderer closes every turn. The card's examples are no replies.

    Of a cast's scene the last line alone is learned, without the name that is put before it: only there is its speaker
    told who it is.
    """
    head, turns = build_turns(renderer, row)
    segments = list(renderer.segments([*head, *turns]))
    ids = np.fromiter((token for segment in segments for token in segment.token_ids), dtype=np.int32)
    mask = np.repeat([segment.is_reply for segment in segments], [len(segment.token_ids) for segment in segments])
    if row.get("stage"):
        begun = Turn("assistant", renderer.encode(heading(row["messages"][-1]["name"])))
        mask[: len(renderer.render([*head, *turns[:-1], begun]))] = False
    else:
        mask[: sum(len(segment.token_ids) for segment in renderer.segments(head))] = False
    return Example(ids, mask)


def row_texts(rows: Iterable[Row]) -> Iterator[str]:
    """Every text that a vocabulary has to spell."""
    for row in rows:
        if "messages" not in row:
            yield SYSTEM
            yield row["persona"]
            yield render_profile(Profile.model_validate(row["profile"]))
            continue
        if "card" in row:
            yield from (message.text for message in head_messages(build_scene(row)))
            yield from (message.text for message in recap_messages(row.get("recap", "")))
        for message in row["messages"]:
            yield message["content"]


def _is_message(message: Any) -> bool:  # whatever stands in a file
    return isinstance(message, dict) and message.get("role") in _ROLES and isinstance(message.get("content"), str)


def _shared(scene: Scene, row: Row) -> Scene:
    """What all of a cast are told: the scene, without anybody's card."""
    if scene.stage is None:
        return scene
    stage = CharacterCard(data=CardData(name=", ".join(scene.stage.names)[:200], scenario=row.get("scenario", "")))
    return Scene(stage, scene.user, scene.extra, stage=Stage(scene.stage.names))


def _turn(renderer: Renderer, message: dict[str, str], *, in_scene: bool) -> Turn:
    """A message as a turn. The name before a line has ids of its own, as it has where it is served."""
    named = renderer.encode(heading(message["name"])) if in_scene else []
    role: Any = message["role"]  # one of _ROLES, or the row isn't read
    return Turn(role, [*named, *renderer.encode(message["content"])])
