"""A character's avatar, the main icon of its card, and its expressions, the assets of type `emotion`."""

from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from app.api.characters.picture_slot import PicturesDep, Slot
from app.api.characters.versions import VersionQuery, read_version
from app.api.http.deps import CharactersDep
from app.api.http.etags import IfMatch, IfNoneMatch
from app.api.http.upload import FolderDep, describe_upload
from app.errors import InvalidRequestError, quoted
from characters.formats.gallery import Gallery

router = APIRouter(prefix="/characters", tags=["pictures"])

MOST_EXPRESSIONS = 200
# Of a name that is chosen here; cards bring whatever they bring.
MOST_NAME_CHARS = 64
PICTURE = describe_upload()
AVATAR = Slot("avatar", lambda gallery: gallery.avatar, Gallery.with_avatar, Gallery.without_avatar)

ExpressionName = Annotated[str, Path(max_length=1000)]


@router.get("/{character_id}/avatar", response_model=None)
async def read_avatar(
    character_id: str,
    characters: CharactersDep,
    pictures: PicturesDep,
    version: VersionQuery = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Its picture, under an ETag of its own."""
    return await pictures.show(await read_version(characters, character_id, version), AVATAR, if_none_match)


@router.put("/{character_id}/avatar", response_model=None, openapi_extra=PICTURE)
async def replace_avatar(
    character_id: str,
    request: Request,
    folder: FolderDep,
    pictures: PicturesDep,
    if_match: IfMatch = None,
) -> Response:
    """Give it a PNG, JPEG, WebP or GIF, as the body or as a form's `file`; the version before keeps its own."""
    return await pictures.replace(character_id, AVATAR, request, folder, if_match)


@router.delete("/{character_id}/avatar", status_code=204, response_model=None)
async def delete_avatar(character_id: str, pictures: PicturesDep, if_match: IfMatch = None) -> Response:
    """Take it away, as a new version."""
    return await pictures.remove(character_id, AVATAR, if_match)


@router.get("/{character_id}/expressions")
async def list_expressions(
    character_id: str, characters: CharactersDep, version: VersionQuery = None
) -> dict[str, Any]:
    """The names of its expressions, and where their pictures are."""
    record = await read_version(characters, character_id, version)
    place = f"/characters/{record.id}/expressions/"
    names = Gallery(record.card, record.files).expressions
    return {"expressions": [{"name": name, "url": place + quote(name, safe="")} for name in names]}


@router.get("/{character_id}/expressions/{name:path}", response_model=None)
async def read_expression(
    character_id: str,
    name: ExpressionName,
    characters: CharactersDep,
    pictures: PicturesDep,
    version: VersionQuery = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The picture of one expression."""
    record = await read_version(characters, character_id, version)
    return await pictures.show(record, _expression(name), if_none_match)


@router.put("/{character_id}/expressions/{name:path}", response_model=None, openapi_extra=PICTURE)
async def replace_expression(
    character_id: str,
    name: ExpressionName,
    request: Request,
    folder: FolderDep,
    pictures: PicturesDep,
    if_match: IfMatch = None,
) -> Response:
    """Give an expression a picture, as an avatar is given."""
    return await pictures.replace(character_id, _expression(name), request, folder, if_match)


@router.delete("/{character_id}/expressions/{name:path}", status_code=204, response_model=None)
async def delete_expression(
    character_id: str, name: ExpressionName, pictures: PicturesDep, if_match: IfMatch = None
) -> Response:
    """Take it away, as a new version."""
    return await pictures.remove(character_id, _expression(name), if_match)


def _expression(name: str) -> Slot:
    return Slot(
        f"expression {quoted(name)}",
        lambda gallery: gallery.expressions.get(name),
        partial(_with_expression, name),
        lambda gallery: gallery.without_expression(name),
    )


def _with_expression(name: str, gallery: Gallery, digest: str, suffix: str) -> Gallery:
    _check_new(name, gallery)
    return gallery.with_expression(name, digest, suffix)


def _check_new(name: str, gallery: Gallery) -> None:
    """Raises InvalidRequestError where another expression can't be called so, or would be one too many."""
    if name in gallery.expressions:
        return
    if not (name == name.strip() and 0 < len(name) <= MOST_NAME_CHARS and name.isprintable() and "/" not in name):
        told = f"an expression's name has 1 to {MOST_NAME_CHARS} printable characters, and no slash"
        raise InvalidRequestError(told, param="name", code="invalid_name")
    if len(gallery.expressions) >= MOST_EXPRESSIONS:
        told = f"the character has {len(gallery.expressions)} expressions; at most {MOST_EXPRESSIONS} are kept"
        raise InvalidRequestError(told, code="too_many_expressions")
