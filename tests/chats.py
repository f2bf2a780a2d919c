"""Chats as programs keep them in files, and as hypothesis draws them."""

from typing import Any

import orjson
from hypothesis import strategies as st

from tests.cards import values
from tests.strategies import any_text

Json = Any
HEADER: dict[str, Json] = {
    "user_name": "Sam",
    "character_name": "Lyra",
    "create_date": "2024-9-28@01h02m36s",
    "chat_metadata": {"note_prompt": "It rains.", "note_depth": 2, "note_role": 0, "tainted": True, "x": [1, None]},
}


def user(mes: str = "Hello.", **more: Json) -> dict[str, Json]:
    return {"name": "Sam", "is_user": True, "is_system": False, "send_date": "2024-09-28T01:02:36.123Z"} | {
        "mes": mes,
        "extra": {},
        **more,
    }


def reply(*swipes: str, shown: int = 0, **more: Json) -> dict[str, Json]:
    """A reply with its swipes, as SillyTavern keeps one."""
    infos: list[Json] = [
        {"send_date": "September 28, 2024 1:03am", "gen_started": "x", "extra": {"model": f"m{index}"}}
        for index in range(len(swipes))
    ]
    return {"name": "Lyra", "is_user": False, "is_system": False, "mes": swipes[shown], **infos[shown]} | {
        "swipe_id": shown,
        "swipes": list(swipes),
        "swipe_info": infos,
        **more,
    }


def jsonl(*lines: Json) -> bytes:
    return b"\n".join(map(orjson.dumps, lines))


def parsed(blob: bytes) -> list[Json]:
    return [orjson.loads(line) for line in blob.split(b"\n")]


_sound = any_text.filter(lambda text: "\0" not in text)
_extras = st.dictionaries(_sound.filter(lambda key: key not in ("type", "bookmark_link")), values, max_size=3)
_dates = st.sampled_from([0, 1727485356123, "2024-9-28@01h02m36s", "June 3, 2023 4:05pm", "some day", None])
_KEPT = ("name", "is_user", "is_system", "mes", "swipes", "swipe_id", "swipe_info", "chat_metadata")
_others = st.dictionaries(_sound.filter(lambda key: key not in _KEPT), values, max_size=3)


@st.composite
def _infos(draw: st.DrawFn) -> dict[str, Json]:
    return draw(st.fixed_dictionaries({}, optional={"send_date": _dates, "extra": _extras})) | draw(_others)


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Json]:
    """A line of SillyTavern's with whatever else it has."""
    swipes = draw(st.lists(_sound, min_size=1, max_size=4))
    shown = draw(st.integers(0, len(swipes) - 1))
    message = draw(_others) | draw(st.fixed_dictionaries({}, optional={"send_date": _dates, "extra": _extras}))
    message |= {"name": draw(_sound), "is_user": draw(st.booleans()), "is_system": draw(st.booleans())}
    message["mes"] = swipes[shown]
    if len(swipes) > 1 or draw(st.booleans()):
        message |= {"swipes": swipes, "swipe_id": shown}
        if draw(st.booleans()):
            message["swipe_info"] = [draw(_infos()) for _ in range(draw(st.integers(0, len(swipes))))]
    return message


headers = st.fixed_dictionaries(
    {"user_name": _sound, "character_name": _sound}, optional={"chat_metadata": _extras, "create_date": _dates}
)
files = st.tuples(headers, st.lists(messages(), min_size=1, max_size=5)).map(lambda drawn: [drawn[0], *drawn[1]])
