"""Cards to read: hypothesis draws them as other programs write them, and the containers are built here by hand."""

import base64
import io
import json
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from characters.formats.cardfile import CardFile
from characters.formats.picture import draw_default

Json = Any

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ICON = "assets/icon/images/main.png"
PORTRAIT = draw_default("Somebody")
WAVE = b"RIFF\x24\0\0\0WAVEfmt "

V1 = {
    "name": "Ida",
    "description": "A baker.",
    "personality": "warm",
    "scenario": "The shop is open.",
    "first_mes": "Good morning, {{user}}.",
    "mes_example": "<START>\n{{user}}: Hello!\n{{char}}: Hello yourself.",
}


def v2(**data: Json) -> dict[str, Json]:
    return {"spec": "chara_card_v2", "spec_version": "2.0", "data": V1 | data}


def v3(**data: Json) -> dict[str, Json]:
    return {"spec": "chara_card_v3", "spec_version": "3.0", "data": V1 | {"group_only_greetings": []} | data}


def dumps(value: Json) -> bytes:
    return json.dumps(value).encode()


def encode(value: Json) -> bytes:
    """A card as a PNG's text chunk holds it."""
    return base64.b64encode(dumps(value))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def text(keyword: str, value: bytes) -> bytes:
    return chunk(b"tEXt", keyword.encode("latin-1") + b"\0" + value)


def packed_text(keyword: str, value: bytes) -> bytes:
    return chunk(b"zTXt", keyword.encode("latin-1") + b"\0\0" + zlib.compress(value))


def international_text(keyword: str, value: bytes, *, packed: bool = False) -> bytes:
    body = zlib.compress(value) if packed else value
    return chunk(b"iTXt", keyword.encode("latin-1") + bytes([0, packed, 0]) + b"en\0translated\0" + body)


def png(*chunks: bytes, picture: bytes = PORTRAIT) -> bytes:
    """The picture with `chunks` before its end."""
    return picture[:-12] + b"".join(chunks) + picture[-12:]


def zipped(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, blob in files.items():
            archive.writestr(path, blob)
    return out.getvalue()


def charx(value: Json, files: Mapping[str, bytes] | None = None) -> bytes:
    return zipped({"card.json": dumps(value), **(files or {})})


def with_entry(name: str, blob: bytes = b"x", mode: int = 0) -> bytes:
    """A CHARX with one more file."""
    out = io.BytesIO(charx(v3()))
    with zipfile.ZipFile(out, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there already
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        archive.writestr(entry, blob)
    return out.getvalue()


def whole(card_file: CardFile) -> Json:
    """All that there is of a card, for comparing: `==` takes an unset field for its default."""
    card = card_file.card
    return {"data": card.data.model_dump(exclude_unset=True), "profile": card.profile, "persona": card.persona}


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    [
        "",
        "{{char}} and {{user}}",
        "a\nb",
        " a\n\n b \n",
        "\ta\r\nb\x85c\u2028d",
        "1e5",
        "007",
        "no",
        "null",
        "~",
        "- a: b",
        "\ufeff#x",
    ]
)
names = texts.filter(lambda name: bool(name.strip()))
keys = st.sampled_from(["model_config", "copy", "__class__", "uid", "<<", "7", "ключ"]) | st.text(
    "abcxyz", min_size=4, max_size=8
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
extensions = st.dictionaries(keys, values, max_size=3)
entries = st.fixed_dictionaries(
    {
        "keys": st.lists(texts, max_size=3),
        "content": texts,
        "enabled": st.booleans(),
        "insertion_order": st.integers(0, 999),
    },
    optional={
        "extensions": extensions,
        "constant": st.booleans(),
        "use_regex": st.booleans(),
        "selective": st.booleans(),
        "secondary_keys": st.lists(texts, max_size=2),
        "position": st.sampled_from(["before_char", "after_char"]),
        "id": st.integers(0, 99) | texts,
        "priority": st.integers(-5, 5),
        "comment": texts,
        "entry_id": texts,
    },
)
books = st.fixed_dictionaries(
    {"entries": st.lists(entries, max_size=3)},
    optional={
        "extensions": extensions,
        "name": texts,
        "scan_depth": st.integers(0, 9),
        "token_budget": st.integers(0, 999),
        "recursive_scanning": st.booleans(),
        "gallery": values,
    },
)

PATHS = (
    ICON,
    "assets/emotion/images/joy.webp",
    "assets/other/audio/1.wav",
    "module.risum",
    "3",
    "assets/图/" + "x" * 90,
)
blobs = st.sampled_from([PORTRAIT, draw_default("Else"), WAVE]) | st.binary(max_size=40)
uris = (
    st.sampled_from([f"embeded://{path}" for path in (*PATHS, "missing.png")])
    | st.sampled_from(["ccdefault:", "https://example.com/a.png", "/storage/a.png", "", "__asset:3", "__asset:9"])
    | blobs.map(lambda blob: f"data:image/png;base64,{base64.b64encode(blob).decode()}")
)
assets = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["icon", "icon", "emotion", "background", "x_more"]),
        "uri": uris,
        "name": st.sampled_from(["main", "joy"]) | texts,
        "ext": st.sampled_from(["png", "webp", "unknown"]) | texts,
    },
    optional={"tags": values},
)
strings = dict.fromkeys(("description", "personality", "first_mes", "system_prompt", "creator_notes"), texts)
data = st.fixed_dictionaries(
    {"name": names, **strings},
    optional={
        "extensions": extensions,
        "alternate_greetings": st.lists(texts, max_size=2),
        "group_only_greetings": st.lists(texts, max_size=2),
        "tags": st.lists(texts, max_size=2),
        "character_book": books,
        "assets": st.lists(assets, max_size=4),
        "nickname": texts,
        "creator_notes_multilingual": st.dictionaries(st.sampled_from(["en", "de"]), texts),
        "source": st.lists(texts, max_size=2),
        "creation_date": st.integers(0, 1 << 35),
        "x_unknown": values,
        "model_fields": values,
    },
)
raw_cards = st.builds(
    lambda data, root: {**root, "spec": "chara_card_v3", "spec_version": "3.0", "data": data},
    data,
    st.dictionaries(st.sampled_from(["create_date", "avatar", "chat", "json_data"]), values, max_size=2),
)
files = st.dictionaries(st.sampled_from(PATHS), blobs, max_size=4)
