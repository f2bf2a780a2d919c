"""Chats as files to take home: the branch that is shown, or all branches in a ZIP, each a file of its own."""

import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from characters.card import CardError
from characters.chats.chat import Chat, Place
from characters.chats.limits import MAX_BRANCHES, MAX_BRANCHES_BYTES
from characters.chats.openai import write_messages
from characters.chats.sillytavern import write_lines

Format = Literal["sillytavern", "openai"]


@dataclass(frozen=True, slots=True)
class Kind:
    suffix: str
    media_type: str


KINDS: Mapping[Format, Kind] = MappingProxyType(
    {"sillytavern": Kind("jsonl", "application/jsonl"), "openai": Kind("json", "application/json")}
)
ZIP = Kind("zip", "application/zip")


def write_chat(chat: Chat, format: Format) -> bytes:
    """The branch that is shown; SillyTavern's format holds the swipes beside it, too."""
    if format == "openai":
        return write_messages(chat, chat.tip)
    return write_lines(chat, chat.tip, chat.siblings())


def write_branches(chat: Chat, format: Format, name: str) -> bytes:
    """A ZIP of all branches, the one that is shown called `name`.

    Raises CardError `too_many_branches` for more of them, or more in them, than anybody reads back.
    """
    tips = find_tips(chat, swipes=format == "sillytavern")
    if len(tips) > MAX_BRANCHES:
        told = f"the chat has {len(tips):,} branches; at most {MAX_BRANCHES:,} are written"
        raise CardError(told, "too_many_branches")
    names = {tip: name if not number else f"{name} - Branch #{number}" for number, tip in enumerate(tips)}
    out, size = io.BytesIO(), 0
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for tip, blob in _write(chat, format, names):
            size += len(blob)
            if size > MAX_BRANCHES_BYTES:
                told = f"all branches have more than {MAX_BRANCHES_BYTES >> 20} MiB together: take single ones home"
                raise CardError(told, "too_many_branches")
            archive.writestr(f"{names[tip]}.{KINDS[format].suffix}", blob)
    return out.getvalue()


def find_tips(chat: Chat, *, swipes: bool = True) -> list[int | None]:
    """The ends of as many branches as have every message of the chat in them, the one that is shown first.

    With `swipes` a message counts as in a branch where a swipe of it is.
    """
    parents = {said.parent for said in chat.messages}
    depths: list[int] = []
    for said in chat.messages:
        depths.append(0 if said.parent is None else depths[said.parent] + 1)
    tips: list[int | None] = []
    told: set[int] = set()
    beside: set[Place] = set()

    def tell(tip: int | None) -> None:
        tips.append(tip)
        while tip is not None and tip not in told:
            told.add(tip)
            beside.add((chat.messages[tip].parent, chat.messages[tip].role))
            tip = chat.messages[tip].parent

    tell(chat.tip)
    # The longest first, so that what only was swiped away is a swipe of it.
    for leaf in sorted(set(range(len(depths))) - parents, key=lambda place: (-depths[place], place)):
        said = chat.messages[leaf]
        if leaf not in told and not (swipes and (said.parent, said.role) in beside):
            tell(leaf)
    return tips


def _write(chat: Chat, format: Format, names: Mapping[int | None, str]) -> Iterator[tuple[int | None, bytes]]:
    if format == "openai":
        yield from ((tip, write_messages(chat, tip)) for tip in names)
        return
    main, siblings, partings = names[chat.tip], chat.siblings(), _find_partings(chat, names)
    for tip in names:
        yield tip, write_lines(chat, tip, siblings, main="" if tip == chat.tip else main, branches=partings)


def _find_partings(chat: Chat, names: Mapping[int | None, str]) -> dict[int, list[str]]:
    """The names of branches by the last message that each has in common with one before it."""
    partings: dict[int, list[str]] = {}
    told: set[int] = set()
    for tip, name in names.items():
        path = chat.path(tip)
        shared = [place for place in path if place in told]
        if shared:
            partings.setdefault(shared[-1], []).append(name)
        told.update(path)
    return partings
