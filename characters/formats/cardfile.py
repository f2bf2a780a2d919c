"""CardFile: a card with the files that came with it, as every format reads and writes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import orjson
from pydantic import ValidationError

from characters.card import EXTENSION, CardError, CharacterCard
from characters.formats.assets import ICON_PATH, embedded_path, main_icon, settle_assets
from characters.formats.dialects import to_data
from characters.formats.document import Json, clean
from characters.formats.extension import settle_profile, take_root
from characters.formats.fields import LISTS, TEXTS, settle_fields
from characters.formats.limits import MAX_CARD_BYTES
from characters.formats.picture import is_picture
from characters.lore.coercion import Coercion, first_warnings
from characters.standin import with_standin

Spec = Literal["v2", "v3"]
REQUIRED = MappingProxyType({**dict.fromkeys(TEXTS, ""), **dict.fromkeys(LISTS, ())})


@dataclass(frozen=True, slots=True)
class CardFile:
    """A card, its files by path, and what of it had to be changed or can't be used. Immutable.

    The card's assets name the files as `embeded://path`. Files that no asset names are kept as well.
    """

    card: CharacterCard
    files: Mapping[str, bytes] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def avatar_path(self) -> str | None:
        """The path of the main icon's file; None when it has none here, or when that is no picture."""
        icon = main_icon(self.card.data.assets or [])
        path = (embedded_path(icon) if icon else None) or ICON_PATH
        return path if path in self.files and is_picture(self.files[path]) else None

    def to_json(self, spec: Spec) -> dict[str, Json]:
        """The card as V2 or V3 JSON, every required field there, and beside `data` what stood there when it came.

        Where the profile says who it is and no description does, its lines are the description.
        """
        value = self.card.to_v2() if spec == "v2" else self.card.to_v3()
        data = {**{key: list(item) if item == () else item for key, item in REQUIRED.items()}, **value["data"]}
        told = with_standin(data, self.card.profile, EXTENSION)
        if told is not data and len(orjson.dumps(told)) <= MAX_CARD_BYTES:
            data = told
        return {**take_root(data), **value, "data": data}


def build_card_file(
    value: Json, coercion: Coercion, files: Mapping[str, bytes] | None = None, picture: bytes | None = None
) -> CardFile:
    """The card in `value`, whatever its dialect, with the `files` of its container; `picture` is what that shows.

    `value` is changed. Raises CardError: what is wrong with the card, by its code.
    """
    data = to_data(value, coercion)
    settle_fields(data, coercion)
    settle_profile(data, coercion)
    kept = dict(files or {})
    settle_assets(data, kept, picture, coercion)
    # What was kept in our extension lies deeper now.
    data = clean(data, coercion, depth=-4)
    if (size := len(orjson.dumps(data))) > MAX_CARD_BYTES:
        raise CardError(f"the card has {size:,} bytes of JSON; at most {MAX_CARD_BYTES:,} are read", "card_too_large")
    try:
        card = CharacterCard.model_validate({"data": data})
    except ValidationError as error:
        fault = error.errors()[0]
        raise CardError(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    made = CardFile(card, kept)
    icon = main_icon(card.data.assets or [])
    if icon and embedded_path(icon) in kept and made.avatar_path is None:
        coercion.warn("the icon isn't a picture that can be shown; kept, and not used")
    return CardFile(card, kept, tuple(first_warnings(coercion.warnings)))
