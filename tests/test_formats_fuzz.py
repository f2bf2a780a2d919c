"""Damaged and twisted files: the readers refuse them as cards, or read them, and what they read comes back."""

import base64
import struct

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from characters.card import CardError, build_card
from characters.formats.cardfile import CardFile
from characters.formats.reading import read_card, unpack
from characters.formats.writing import write_card
from characters.profile import Profile
from tests.cards import (
    ICON,
    PORTRAIT,
    SIGNATURE,
    V1,
    Json,
    charx,
    chunk,
    dumps,
    encode,
    international_text,
    packed_text,
    png,
    text,
    texts,
    v3,
    values,
    whole,
    zipped,
)

bounded = settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

ENTRY = {"keys": ["a"], "content": "b", "enabled": True, "insertion_order": 1, "extensions": {"position": 4}}
ICONS = [{"type": "icon", "uri": f"embeded://{ICON}", "name": "main", "ext": "png"}]
OURS = {"persona": "A baker.", "profile": {"name": "Ida"}, "root": {"avatar": "none"}, "unread": {"tags": 7}}
STANDIN = write_card(CardFile(build_card(Profile(name="Ida", likes="rye"), "A baker.")), "png")
FULL = v3(
    alternate_greetings=["Hello."],
    tags=["a"],
    character_book={"entries": [ENTRY]},
    assets=[*ICONS, {"type": "emotion", "uri": "data:image/png;base64,AAAA", "name": "joy", "ext": "png"}],
    creation_date=1762811700,
    nickname="I",
    source=["https://example.com"],
    creator_notes_multilingual={"en": "By me."},
    extensions={"opencharacter": OURS, "depth_prompt": {"prompt": "Warm.", "depth": 4}},
) | {"create_date": "today"}

PNGS = (
    png(text("ccv3", encode(FULL)), text("chara-ext-asset_:1", b"AAAA")),
    png(packed_text("chara", encode(FULL))),
    png(international_text("chara", encode(FULL), packed=True)),
    STANDIN,
)
CHARXS = (charx(FULL, {ICON: PORTRAIT, "module.risum": b"x"}), b"\xff\xd8\xff\xe0" + charx(V1))
YAMLS = (b"name: Ida\ngreeting: |-\n  Hello.\n  You.\ncontext: 'A baker.'\nlist: [a, {b: c}]\n",)
ODD: tuple[Json, ...] = (
    *(None, True, -1, 1e300, 10**20, "", "x", "1e30", [], [None], {}, [{}], {"a": []}, {"entries": [{"keys": None}]}),
    *("data:,", "data:image/png;base64,A", "embeded://../a", "embeded://", "__asset:1", "ccdefault:"),
)

# Where to cut, how much to drop, what to put there instead.
wounds = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), st.binary(max_size=8)), min_size=1, max_size=6)


def wound(blob: bytes, places: list[tuple[float, int, bytes]]) -> bytes:
    for share, dropped, put in places:
        at = int(share * len(blob))
        blob = blob[:at] + put + blob[at + dropped :]
    return blob


def healed(blob: bytes) -> bytes:
    """A damaged PNG with sound checksums, so that what is behind them is reached."""
    parts, at = [SIGNATURE], len(SIGNATURE)
    while at + 12 <= len(blob):
        length, kind = struct.unpack_from(">I4s", blob, at)
        parts.append(chunk(kind, blob[at + 8 : at + 8 + length]))
        at += 12 + length
    return b"".join(parts)


def twist(draw: st.DrawFn, value: Json) -> Json:
    """A value like `value`, with something wrong in it here and there."""
    if draw(st.integers(0, 14)) == 0:
        return draw(st.sampled_from(ODD) | values | texts)
    if isinstance(value, dict):
        return {key: twist(draw, item) for key, item in value.items() if draw(st.integers(0, 24))}
    return [twist(draw, item) for item in value] if isinstance(value, list) else value


@st.composite
def twisted(draw: st.DrawFn) -> Json:
    return twist(draw, draw(st.sampled_from([FULL, V1])))


def survive(blob: bytes) -> None:
    """Nothing but a CardError comes out, and what is read can be written and read again."""
    try:
        read = read_card(blob)
        list(unpack(blob, "it"))
    except CardError:
        return
    for form in ("json-v3", "png", "charx", "yaml"):
        assert whole(read_card(write_card(read, form))) == whole(read)


@given(st.sampled_from(PNGS), wounds, st.booleans())
@bounded
def test_damaged_png_is_refused_or_read(blob: bytes, places: list[tuple[float, int, bytes]], heal: bool) -> None:
    broken = wound(blob, places)
    survive(healed(broken) if heal else broken)


@given(st.sampled_from(CHARXS), wounds)
@bounded
def test_damaged_charx_is_refused_or_read(blob: bytes, places: list[tuple[float, int, bytes]]) -> None:
    survive(wound(blob, places))


@given(st.sampled_from((dumps(FULL), *YAMLS)), wounds)
@bounded
def test_damaged_text_is_refused_or_read(blob: bytes, places: list[tuple[float, int, bytes]]) -> None:
    survive(wound(blob, places))


@given(twisted())
@example({"spec": "x", "data": V1 | {"extensions": {"opencharacter": None}}, "avatar": "none"})
@example({"data": V1 | {"extensions": {"opencharacter": {"root": {}}}}, "avatar": "none"})
@example(v3(character_book={"entries": [{"insertion_order": "1e30"}]}))
@example(v3(creation_date=1e300))
@settings(bounded, max_examples=60)
def test_twisted_card_is_refused_or_read_in_every_container(value: Json) -> None:
    raw = dumps(value)
    survive(raw)
    survive(png(text("ccv3", base64.b64encode(raw)), text("chara-ext-asset_:1", b"AAAA")))
    survive(zipped({"card.json": raw, ICON: PORTRAIT}))


@given(st.binary(max_size=200))
@bounded
def test_anything_is_refused_or_read(blob: bytes) -> None:
    for front in (b"", SIGNATURE, b"PK\3\4", b"PK\5\6", b"\xff\xd8\xff", b'{"name": '):
        survive(front + blob)


@pytest.mark.parametrize("blob", [*PNGS, *CHARXS, *YAMLS, dumps(FULL)])
def test_unharmed_seed_is_read(blob: bytes) -> None:
    assert read_card(blob).card.data.name == "Ida"
