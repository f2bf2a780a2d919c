"""What a synthesis is asked with: JSON, or a text as the body itself, put into a folder however long it is."""

import asyncio
from pathlib import Path
from typing import Any

from fastapi import Request
from starlette.datastructures import Headers

from app.api.http.upload import describe_upload, receive_uploads
from app.api.synthesis.request import SynthesisRequest
from app.errors import InvalidRequestError
from models.synthesis.manuscript import Manuscript, UnreadableText, fold_text

# What of a query says that the body is a text: whom it is read for.
WHOM = ("name", "character_id")
FILES: dict[str, Any] = describe_upload()["requestBody"]["content"]
# For /docs: bodies are read by hand, for one may be a text.
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": SynthesisRequest.model_json_schema()},
            "text/plain": {"schema": {"type": "string"}},
            "multipart/form-data": FILES["multipart/form-data"],
        },
    }
}


async def receive_synthesis(request: Request, folder: Path, limit: int) -> tuple[SynthesisRequest, Path | None]:
    """What is asked for, and the file in `folder` that the text was put into, where there is one.

    A body beside `name` or `character_id` in the query is a text, whatever its type but JSON. Raises
    InvalidRequestError, BodyTooLargeError, and pydantic's ValidationError.
    """
    if not _is_text(request):
        body = SynthesisRequest.model_validate(await request.json())
        return body, None if body.text is None else await asyncio.to_thread(_write, body.text, folder / "text")
    query = dict(request.query_params)
    if "text" in query:
        raise InvalidRequestError("the text is in the body, and `text` in the query, too", param="text")
    # The file stands for the text, which is never here as a whole.
    body = SynthesisRequest.model_validate({**query, "text": "…"})
    uploads = await receive_uploads(request, folder, limit, "")
    if len(uploads) > 1:
        raise InvalidRequestError(f"{len(uploads)} files were sent; expected one text", code="too_many_files")
    return body, uploads[0].path


async def bind_text(sent: Path, folder: Path) -> Manuscript:
    """The text that was sent, fit to be read piece by piece. Raises InvalidRequestError."""
    try:
        return await asyncio.to_thread(fold_text, sent, folder / "folded")
    except UnreadableText as error:
        raise InvalidRequestError(str(error), param="text", code=error.code) from error


def _is_text(request: Request) -> bool:
    # The request itself says JSON for whatever a client forgot to name.
    said = Headers(scope=request.scope).get("content-type", "")
    return any(key in request.query_params for key in WHOM) and not said.startswith("application/json")


def _write(text: str, path: Path) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
