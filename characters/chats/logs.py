"""Chats of other programs: text-generation-webui's, Agnai's, and those that people took home from Character.AI."""

import html
from collections.abc import Mapping, Sequence

from characters.chats.chat import Json, Line, Role, Said
from characters.chats.coercion import read_name, read_text
from characters.chats.dates import parse_date
from characters.chats.limits import MAX_MESSAGES
from characters.lore.coercion import Coercion

# What text-generation-webui writes where nobody has said anything before a greeting.
NOTHING_SAID = "<|BEGIN-VISIBLE-CHAT|>"
# Pairs as they were said, and as they were shown: in HTML.
PAIRS, SHOWN = ("internal", "data"), ("visible", "data_visible")


def read_textgen(value: Mapping[str, Json], coercion: Coercion) -> list[Line]:
    """`[[user, character], …]`, where other versions of what was said stand in `metadata`."""
    pairs = next((value[key] for key in PAIRS if isinstance(value.get(key), list)), None)
    escaped = pairs is None
    if pairs is None:
        pairs = next((value[key] for key in SHOWN if isinstance(value.get(key), list)), [])
    metadata = value.get("metadata")
    versions = metadata if isinstance(metadata, dict) else {}
    lines: list[Line] = []
    for number, pair in enumerate(pairs):
        place = f"exchange {number + 1}"
        if not isinstance(pair, list) or len(pair) != 2:
            coercion.warn("this is no exchange, and was left out", place)
            continue
        roles: tuple[tuple[Role, str], ...] = (("user", "user"), ("assistant", "assistant"))
        for said, (role, name) in zip(pair, roles, strict=True):
            text = read_text(said, "what was said", coercion, place) if said is not None else ""
            text = html.unescape(text) if escaped else text
            if text.strip() and text.strip() != NOTHING_SAID:
                lines.append(_versions(role, text, versions.get(f"{name}_{number}"), coercion, place))
    return lines


def _versions(role: Role, text: str, told: Json, coercion: Coercion, place: str) -> Line:
    """The text among its other versions, where there are any."""
    told = told if isinstance(told, dict) else {}
    time = parse_date(told.get("timestamp"))
    versions = told.get("versions")
    others = [one for one in versions if isinstance(one, dict)] if isinstance(versions, list) else []
    swipes = [
        Said(role, read_text(one.get("content"), "a version", coercion, place), time=parse_date(one.get("timestamp")))
        for one in others[:MAX_MESSAGES]
    ]
    texts = [swipe.text for swipe in swipes]
    if text in texts:
        at = told.get("current_version_index")
        is_right = isinstance(at, int) and 0 <= at < len(texts) and texts[at] == text
        return Line(swipes, at if is_right and isinstance(at, int) else texts.index(text))
    return Line([*swipes, Said(role, text, time=time)], len(swipes))


def read_agnai(values: Sequence[Json], coercion: Coercion) -> list[Line]:
    """Messages with `msg`: a user's where they have a `userId`; `retries` are other replies."""
    lines: list[Line] = []
    for number, value in enumerate(values, 1):
        place = f"message {number}"
        if not isinstance(value, dict) or "msg" not in value:
            coercion.warn("this is no message, and was left out", place)
            continue
        role: Role = "user" if value.get("userId") else "assistant"
        time = parse_date(value.get("createdAt"))
        name = read_name(value.get("handle") or value.get("name"), coercion, place)
        retries = value.get("retries")
        texts = [value["msg"], *(retries[: MAX_MESSAGES - 1] if isinstance(retries, list) else ())]
        lines.append(Line([Said(role, read_text(text, "`msg`", coercion, place), name, time=time) for text in texts]))
    return lines


def read_cai(values: Sequence[Json], coercion: Coercion) -> list[list[Line]]:
    """Each history a branch, the latest first."""
    branches = []
    for number, history in enumerate(values, 1):
        place = f"history {number}"
        said = history.get("msgs") if isinstance(history, dict) else None
        if not isinstance(said, list):
            coercion.warn("this is no history, and was left out", place)
            continue
        branches.append([_read_cai(value, coercion, place) for value in said if isinstance(value, dict)])
        if len(branches[-1]) < len(said):
            coercion.warn("what is no message was left out", place)
    return sorted(filter(None, branches), key=_latest, reverse=True)


def _read_cai(value: Mapping[str, Json], coercion: Coercion, place: str) -> Line:
    source = value.get("src")
    source = source if isinstance(source, dict) else {}
    role: Role = "user" if source.get("is_human") is True else "assistant"
    text = read_text(value.get("text"), "`text`", coercion, place)
    name = read_name(source.get("name"), coercion, place)
    return Line([Said(role, text, name, time=parse_date(value.get("created")))])


def _latest(branch: Sequence[Line]) -> float:
    return branch[-1].swipes[0].time or 0.0
