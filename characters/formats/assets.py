"""A card's assets: pictures and other files that its `assets` name by address.

In memory a file that came with its card is always `embeded://` (sic, the V3 specification's spelling) and its path.
Other addresses stay as they are: none is ever fetched.
"""

import mimetypes
import re
from collections.abc import Mapping, Sequence
from itertools import count

from characters.card import CardError
from characters.formats.data_uri import is_data_uri, parse_data_uri
from characters.formats.document import Json
from characters.lore.coercion import Coercion

EMBEDDED, CHUNK, DEFAULT = "embeded://", "__asset:", "ccdefault:"
# Where a picture is that no asset names: the card's own.
ICON_PATH = "assets/icon/images/main.png"
# The asset's key for a file's path where its address can't hold one.
PATH = "opencharacter_path"
KNOWN = re.compile(r"embeded://|ccdefault:|__asset:|https?://|data:", re.IGNORECASE)
DRIVE = re.compile(r"[A-Za-z]:")
MAX_PATH_CHARS = 400
# The folders that V3 names, by media type.
FOLDERS = {"image": "images", "audio": "audio", "video": "video", "font": "fonts"}

Asset = dict[str, Json]


def is_safe_path(path: str) -> bool:
    """Whether `path` stays in the folder where it is unpacked, on every system."""
    inside = not any(part in ("", ".", "..") for part in path.split("/"))
    return inside and len(path) <= MAX_PATH_CHARS and path.isprintable() and "\\" not in path and not DRIVE.match(path)


def embedded_path(asset: Mapping[str, Json]) -> str | None:
    """The path of an asset that is a file of its card; None for any other."""
    uri = asset.get("uri")
    return uri.removeprefix(EMBEDDED) if isinstance(uri, str) and uri.startswith(EMBEDDED) else None


def main_icon(assets: Sequence[Asset]) -> Asset | None:
    """The character's icon: the one named `main`, else the first."""
    icons = [asset for asset in assets if asset.get("type") == "icon"]
    return next((icon for icon in icons if icon.get("name") == "main"), icons[0] if icons else None)


def settle_assets(data: dict[str, Json], files: dict[str, bytes], picture: bytes | None, coercion: Coercion) -> None:
    """Move files out of `data:` and `__asset:` addresses into `files`, and make `picture` the main icon.

    `picture` is the one that the container itself is. Raises CardError `file_too_large`.
    """
    assets: list[Asset] = data.get("assets", [])
    for place, asset in enumerate(assets):
        _settle_address(asset, files, coercion, place)
    if picture is None and (main_icon(assets) or {"uri": DEFAULT})["uri"] == DEFAULT:
        picture = files.pop(ICON_PATH, None)
    if picture is not None:
        _place_picture(data, files, picture)
    for place, asset in enumerate(data.get("assets", [])):
        _tell(asset, files, coercion, place)


def _tell(asset: Asset, files: Mapping[str, bytes], coercion: Coercion, place: int) -> None:
    path = embedded_path(asset)
    if (path is not None and path not in files) or asset["uri"].startswith(CHUNK):
        coercion.warn("the file that it names isn't here", f"asset {place}")
    elif not KNOWN.match(asset["uri"]):
        coercion.warn("its address is of no kind that is known; kept, and not used", f"asset {place}")


def _settle_address(asset: Asset, files: dict[str, bytes], coercion: Coercion, place: int) -> None:
    uri: str = asset["uri"]
    if uri.startswith("embedded://"):
        coercion.warn("its address began with embedded:// where V3 has embeded://", f"asset {place}")
        asset["uri"] = EMBEDDED + uri.removeprefix("embedded://")
    elif uri.startswith(CHUNK):
        _settle_chunk(asset, files, uri.removeprefix(CHUNK))
    elif is_data_uri(uri):
        try:
            blob, media_type = parse_data_uri(uri)
        except CardError as error:
            if error.code == "file_too_large":
                raise
            coercion.warn(f"{error}; kept, and not used", f"asset {place}")
            return
        path = _free(files, _told_path(asset) or _made_path(asset, media_type, place), blob, place)
        files[path] = blob
        asset["uri"] = EMBEDDED + path


def _settle_chunk(asset: Asset, files: dict[str, bytes], key: str) -> None:
    if key not in files:
        path = asset.get(PATH)
    elif (path := _told_path(asset)) and path not in files:
        files[path] = files.pop(key)
    else:
        path = key
    if isinstance(path, str) and path in files:
        asset.pop(PATH, None)
        asset["uri"] = EMBEDDED + path


def _told_path(asset: Asset) -> str | None:
    path = asset.get(PATH)
    if not isinstance(path, str) or not is_safe_path(path):
        return None
    del asset[PATH]
    return path


def _made_path(asset: Asset, media_type: str, place: int) -> str:
    suffix = mimetypes.guess_extension(media_type) or ""
    if re.fullmatch(r"[A-Za-z0-9]{1,8}", asset["ext"]) and asset["ext"] != "unknown":
        suffix = f".{asset['ext'].lower()}"
    kind = (mimetypes.guess_type(f"a{suffix}")[0] or media_type).partition("/")[0]
    folder = re.sub(r"\W+", "-", asset["type"], flags=re.ASCII).strip("-")[:40] or "other"
    stem = "main" if (asset["type"], asset["name"]) == ("icon", "main") else str(place)
    return f"assets/{folder}/{FOLDERS.get(kind, 'other')}/{stem}{suffix}"


def _free(files: Mapping[str, bytes], path: str, blob: bytes, place: int = 0) -> str:
    """`path`, or one like it, where nothing but `blob` is. `place` differs for each asset that asks."""
    if files.get(path, blob) == blob:
        return path
    stem, dot, suffix = path.rpartition(".")
    tries = (f"{stem}-{number}{dot}{suffix}" for number in count(place + 2))
    return next(path for path in tries if files.get(path, blob) == blob)


def _place_picture(data: dict[str, Json], files: dict[str, bytes], picture: bytes) -> None:
    """Make `picture` the file of the main icon; one that has its own keeps it, and the picture stays beside it."""
    assets: list[Asset] = data.get("assets", [])
    icon = main_icon(assets)
    path = embedded_path(icon) if icon else None
    if path is not None and path not in files and is_safe_path(path):
        files[path] = picture
    if path is not None and files.get(path) == picture:
        return
    ext = "png" if picture.startswith(b"\x89PNG") else "jpg"
    own = _free(files, ICON_PATH.removesuffix("png") + ext, picture)
    files[own] = picture
    if icon is None:
        data["assets"] = [*assets, {"type": "icon", "uri": EMBEDDED + own, "name": "main", "ext": ext}]
    elif icon["uri"] == DEFAULT:
        icon["uri"] = EMBEDDED + own
