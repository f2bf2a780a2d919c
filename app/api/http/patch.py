"""What the body of a PUT or PATCH makes of a card: a merge patch (RFC 7396), in any of the shapes that a card has."""

from typing import Any

from app.errors import InvalidRequestError
from characters.card import EXTENSION, CharacterCard
from characters.formats.data_uri import is_data_uri
from characters.formats.fields import check_texts

CARD_FIELDS = ("data", "profile", "persona")


def merge_patch(card: CharacterCard, body: dict[str, Any]) -> dict[str, Any]:
    """`card` as JSON with `body` merged into `data`, `profile` and `persona`; bare card fields go to `data`."""
    patch = lift_extension(body if "data" in body else _of_data(body))
    merged: dict[str, Any] = merge(card.model_dump(include=set(CARD_FIELDS), exclude_unset=True), patch)
    return merged


def lift_extension(body: dict[str, Any]) -> dict[str, Any]:
    """`body` with the profile and persona of its extension beside its `data`, unless they (or a null) stand there."""
    match body:
        case {"data": {"extensions": {"opencharacter": dict() as ours} as extensions} as data}:
            lifted = {key: ours[key] for key in ("profile", "persona") if key in ours}
            kept = {key: item for key, item in ours.items() if key not in lifted}
            return {**lifted, **body, "data": {**data, "extensions": {**extensions, EXTENSION: kept}}}
    return body


def keep_assets(body: dict[str, Any], card: CharacterCard) -> dict[str, Any]:
    """`body` with the assets that `card` has, where it says nothing of any: front-ends of V2 know none."""
    data = body.get("data", body)
    if not isinstance(data, dict) or "assets" in data or card.data.assets is None:
        return body
    kept = {**data, "assets": card.data.assets}
    return {**body, "data": kept} if "data" in body else kept


def check_assets(card: CharacterCard, before: CharacterCard | None = None) -> None:
    """Raises InvalidRequestError where an asset's address is its file, unless it came so with the card `before`."""
    known = _data_uris(before) if before else set()
    if not _data_uris(card) <= known:
        told = "an asset has its file in a data: address: send the card to POST /characters/import, which keeps files"
        raise InvalidRequestError(told, param="assets", code="file_in_card")


def check_sizes(card: CharacterCard, before: CharacterCard | None = None) -> None:
    """Raises CardError where a text is too long that the card `before` didn't have already."""
    known = before.data.model_dump() if before else {}
    check_texts({field: value for field, value in card.data.model_dump().items() if value != known.get(field)})


def _data_uris(card: CharacterCard) -> set[str]:
    uris = (asset.get("uri") for asset in card.data.assets or [])
    return {uri for uri in uris if isinstance(uri, str) and is_data_uri(uri)}


def _of_data(body: dict[str, Any]) -> dict[str, Any]:
    """A patch of `data` itself, with profile and persona beside its fields, as in POST."""
    ours: dict[str, Any] = {key: body[key] for key in ("profile", "persona") if key in body}
    told = ("id", "version", "warnings", "spec", "spec_version", *ours)
    return {**ours, "data": {key: item for key, item in body.items() if key not in told}}


def merge(target: Any, patch: Any) -> Any:
    """`target` with `patch` merged in: what is null goes, objects are merged, anything else is replaced."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged
