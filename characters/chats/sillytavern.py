"""SillyTavern's chats: JSON lines, a header first, then a message a line with its swipes.

A branch is a file of its own there. What this server has no use for stays with the messages and the chat, and is
written again.
"""

from collections.abc import Mapping, Sequence

import orjson

from characters.chats.chat import Chat, Json, Line, Place, Role, Said
from characters.chats.coercion import read_name, read_text
from characters.chats.dates import parse_date, write_date
from characters.chats.limits import MAX_BESIDE_BYTES, MAX_HEADER_BYTES, MAX_MESSAGES
from characters.lore.coercion import Coercion

SWIPES = ("swipes", "swipe_id", "swipe_info")
# What SillyTavern says of each swipe, of the one that is shown also in the message itself.
OF_SWIPE = ("send_date", "extra", "gen_started", "gen_finished")
NARRATOR = "narrator"


def read_header(value: Mapping[str, Json], coercion: Coercion) -> dict[str, Json]:
    """What the first line says of the chat; nothing of one that is too large to be kept."""
    if len(orjson.dumps(value)) > MAX_HEADER_BYTES:
        coercion.warn(f"the header has more than {MAX_HEADER_BYTES:,} bytes, and was left out", "line 1")
        return {key: value[key] for key in ("user_name", "character_name", "create_date") if _is_short(value.get(key))}
    return dict(value)


def _is_short(value: Json) -> bool:
    return isinstance(value, str) and len(value) < 200


def read_line(value: Mapping[str, Json], coercion: Coercion, place: str) -> Line:
    """A message with its swipes. Where its text isn't the swipe that it names, its text counts."""
    texts, chosen = _read_swipes(value, coercion, place)
    infos = _read_infos(value, len(texts), coercion, place)
    line = _line_beside(value, coercion, place)
    role, hidden = _read_role(value, coercion, place)
    name = read_name(value.get("name"), coercion, place)
    time = parse_date(value.get("send_date"))
    mark = _object(line.get("extra")).get("bookmark_link")
    swipes: list[Said] = []
    for index, text in enumerate(texts):
        beside: dict[str, Json] = {"info": infos[index]} if index < len(infos) else {}
        own = parse_date(infos[index].get("send_date")) if beside else None
        if index != chosen:
            swipes.append(Said(role, text, name, time=own or time, hidden=hidden, beside=beside))
            continue
        beside |= {"line": line, "held": [key for key in SWIPES if key in value]}
        checkpoint = mark.strip()[:100] if isinstance(mark, str) else ""
        swipes.append(Said(role, text, name, None, time or own, hidden, checkpoint, beside))
    return Line(swipes, chosen)


def _read_swipes(value: Mapping[str, Json], coercion: Coercion, place: str) -> tuple[list[str], int]:
    shown = read_text(value.get("mes"), "`mes`", coercion, place)
    swipes = value.get("swipes")
    if not isinstance(swipes, list) or not swipes:
        if swipes not in (None, []):
            coercion.warn("`swipes` was no list, and was left out", place)
        return [shown], 0
    if len(swipes) > MAX_MESSAGES:
        coercion.warn(f"of {len(swipes):,} swipes the first {MAX_MESSAGES:,} were read", place)
    texts = [read_text(swipe, "a swipe", coercion, place) for swipe in swipes[:MAX_MESSAGES]]
    chosen = value.get("swipe_id", 0)
    if isinstance(chosen, int) and not isinstance(chosen, bool) and 0 <= chosen < len(texts):
        if texts[chosen] != shown:
            coercion.warn("the text isn't that of the swipe that is shown; the text was kept", place)
            texts[chosen] = shown
        return texts, chosen
    coercion.warn("`swipe_id` is none of a swipe's", place)
    if shown not in texts:
        texts.append(shown)
    return texts, texts.index(shown)


def _read_infos(value: Mapping[str, Json], count: int, coercion: Coercion, place: str) -> list[dict[str, Json]]:
    infos = value.get("swipe_info")
    if not isinstance(infos, list):
        return []
    if len(infos) > count:
        coercion.warn("`swipe_info` tells of more swipes than there are", place)
    return [_small(info, coercion, place) if isinstance(info, dict) else {} for info in infos[:count]]


def _line_beside(value: Mapping[str, Json], coercion: Coercion, place: str) -> dict[str, Json]:
    return _small({key: item for key, item in value.items() if key not in ("mes", *SWIPES)}, coercion, place)


def _small(value: dict[str, Json], coercion: Coercion, place: str) -> dict[str, Json]:
    """`value`, without the largest of its parts where it is too large to be kept with a message."""
    kept = dict(value)
    while len(orjson.dumps(kept)) > MAX_BESIDE_BYTES:
        largest = max(kept, key=lambda key: len(orjson.dumps(kept[key])) + len(key))
        coercion.warn(f"`{largest[:40]}` is too large to be kept with the message, and was left out", place)
        del kept[largest]
    return kept


def _read_role(value: Mapping[str, Json], coercion: Coercion, place: str) -> tuple[Role, bool]:
    hidden = bool(coercion.flag(value.get("is_system", False), False, "`is_system`", place))
    if _object(value.get("extra")).get("type") == NARRATOR:
        return "system", hidden
    is_user = coercion.flag(value.get("is_user", False), False, "`is_user`", place)
    return ("user" if is_user else "assistant"), hidden


def write_lines(
    chat: Chat,
    tip: int | None,
    siblings: Mapping[Place, Sequence[int]],
    *,
    main: str = "",
    branches: Mapping[int, Sequence[str]] | None = None,
) -> bytes:
    """The branch that ends there, with all swipes on its way, as a file. `siblings` are the chat's.

    `main` names the file that this is a branch of; `branches` the files that part from it, by the messages where.
    """
    lines = [_header(chat, main)]
    for place in chat.path(tip):
        said = chat.messages[place]
        line = _line(chat, place, siblings[said.parent, said.role])
        extra = _object(line.get("extra"))
        if branches is not None and (place in branches or "branches" in extra):
            line["extra"] = {**extra, "branches": list(branches.get(place, ()))}
        lines.append(line)
    return b"\n".join(map(orjson.dumps, lines))


def _header(chat: Chat, main: str) -> dict[str, Json]:
    first = chat.messages[0].time if chat.messages else None
    date = {"create_date": write_date(first)} if first is not None else {}
    header = dict(chat.beside) or {"user_name": chat.user, "character_name": chat.character, **date}
    metadata = header.get("chat_metadata", {})
    if main:
        header["chat_metadata"] = {**(metadata if isinstance(metadata, dict) else {}), "main_chat": main}
    return header if chat.beside else {"chat_metadata": {}, **header}


def _line(chat: Chat, place: int, swipes: Sequence[int]) -> dict[str, Json]:
    said, all_said = chat.messages[place], [chat.messages[swipe] for swipe in swipes]
    held = next((one.beside for one in (said, *all_said) if "line" in one.beside), {})
    line = {**(held["line"] if held else _plain(chat, said)), "mes": said.text}
    if held and "line" not in said.beside:
        # Another swipe than the one that the rest of the line tells of.
        line = {key: item for key, item in line.items() if key not in OF_SWIPE} | _info(said)
    if said.checkpoint:
        line["extra"] = {"bookmark_link": said.checkpoint, **_object(line.get("extra"))}
    several = len(all_said) > 1
    named = held.get("held", ())
    if several or "swipes" in named:
        line["swipes"] = [one.text for one in all_said]
    if several or "swipe_id" in named:
        line["swipe_id"] = swipes.index(place)
    told = max((index for index, one in enumerate(all_said, 1) if not held or "info" in one.beside), default=0)
    if "swipe_info" in named or (told if held else several):
        line["swipe_info"] = [_info(one) for one in all_said[:told]]
    return line


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _info(said: Said) -> dict[str, Json]:
    """What is told of a swipe; the least that SillyTavern reads, where it came from no file of its."""
    if "info" in said.beside:
        return dict(said.beside["info"])
    return {"extra": {}} | ({"send_date": write_date(said.time)} if said.time is not None else {})


def _plain(chat: Chat, said: Said) -> dict[str, Json]:
    by_user = said.role == "user"
    name = said.name or {"user": chat.user, "assistant": chat.character, "system": "System"}[said.role]
    extra = {"type": NARRATOR} if said.role == "system" else {}
    plain = {"name": name, "is_user": by_user, "is_system": said.hidden, "extra": extra}
    return plain | ({"send_date": write_date(said.time)} if said.time is not None else {})
