"""Lorebooks as clients send them, and who reads them: beside the event loop, and a large one beside this process."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, TypeVar, TypeVarTuple

from fastapi import Depends, Request
from starlette.datastructures import UploadFile

from app.api.http.deps import LorebooksDep, WorkerDep
from app.api.lorebooks.body import BookBody
from app.errors import InvalidRequestError
from app.store.lorebooks import LorebookStore
from app.worker.pool import Worker

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MAX_NAME_CHARACTERS = 200
MAX_FORM_FIELDS = 8
# Of a book's JSON. A megabyte is most of a second in a thread, which takes the event loop's turns away from streams.
LARGE_BYTES = 1 << 18


async def receive_book(request: Request) -> BookBody:
    """What was sent, unread. `id` and `name` may stand in the query or in the form."""
    body = await request.body()
    query = request.query_params
    if not request.headers.get("content-type", "").startswith("multipart/"):
        return _checked(BookBody(body, query.get("id"), query.get("name")))
    async with request.form(max_files=1, max_fields=MAX_FORM_FIELDS) as form:
        file, chosen, name = form.get("file"), form.get("id"), form.get("name")
        if not isinstance(file, UploadFile):
            raise InvalidRequestError("a form brings a lorebook as its `file`", param="file")
        return _checked(
            BookBody(
                await file.read(),
                chosen if isinstance(chosen, str) else query.get("id"),
                name if isinstance(name, str) else query.get("name"),
                file.filename or "",
            )
        )


def _checked(sent: BookBody) -> BookBody:
    if len(sent.name or "") > MAX_NAME_CHARACTERS:
        raise InvalidRequestError(f"`name` has at most {MAX_NAME_CHARACTERS} characters", param="name")
    return sent


class BookReader:
    """Has books read: small ones in a thread, large ones in a process that gives way to who is chatting."""

    def __init__(self, lorebooks: LorebookStore, worker: Worker) -> None:
        self._lorebooks = lorebooks
        self._worker = worker

    async def run(self, size_bytes: int, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """What `function`, which can be pickled as its arguments can, makes of so much JSON.

        Raises what it raises, and what `Worker.run` does.
        """
        if size_bytes < LARGE_BYTES:
            return await self._lorebooks.beside(partial(function, *arguments))
        return await self._worker.run(function, *arguments)


async def _reader(lorebooks: LorebooksDep, worker: WorkerDep) -> BookReader:
    return BookReader(lorebooks, worker)


BookReaderDep = Annotated[BookReader, Depends(_reader)]
