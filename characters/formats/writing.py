"""A card as a file, in any format that is written here."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import orjson

from characters.formats.assets import PATH, Asset, embedded_path
from characters.formats.cardfile import CardFile, Spec
from characters.formats.charx import write_charx
from characters.formats.data_uri import build_data_uri
from characters.formats.png import write_png
from characters.formats.textgen import write_yaml

Format = Literal["json-v2", "json-v3", "png", "charx", "yaml"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a format's files are called: the ending of their names, and their media type."""

    suffix: str
    media_type: str


KINDS: Mapping[Format, Kind] = MappingProxyType(
    {
        "json-v2": Kind("json", "application/json"),
        "json-v3": Kind("json", "application/json"),
        "png": Kind("png", "image/png"),
        "charx": Kind("charx", "application/zip"),
        "yaml": Kind("yaml", "application/yaml"),
    }
)


def write_card(card_file: CardFile, format: Format) -> bytes:
    """The card as a file.

    Every format holds the whole card. PNG and CHARX hold all of its files, JSON those that its assets name, as `data:`
    addresses, YAML none.
    """
    match format:
        case "png":
            return write_png(card_file)
        case "charx":
            return write_charx(card_file)
        case "yaml":
            return write_yaml(card_file)
        case "json-v2":
            return _write_json(card_file, "v2")
        case "json-v3":
            return _write_json(card_file, "v3")


def _write_json(card_file: CardFile, spec: Spec) -> bytes:
    value = card_file.to_json(spec)
    data = value["data"]
    if data.get("assets"):
        data["assets"] = [_enclose(asset, card_file.files) for asset in data["assets"]]
    return orjson.dumps(value, option=orjson.OPT_INDENT_2)


def _enclose(asset: Asset, files: Mapping[str, bytes]) -> Asset:
    path = embedded_path(asset)
    if path is None or path not in files:
        return asset
    return {**asset, "uri": build_data_uri(files[path], path), PATH: path}
