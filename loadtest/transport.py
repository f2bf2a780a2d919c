"""An httpx transport for measuring: HTTP/1.1 over plain TCP, parsed in C by httptools, on the event loop's own sockets.

On the machine that also runs the server, the client's CPU is taken from what is measured. Measured with 64 streams of
one frame each 10 ms, µs a frame: httpx's own transport 120, the same on uvloop 65, this one on uvloop 19.
It has what a load generator needs and no more: keep-alive, no TLS, no proxies, no redirects; time limits are the
caller's (`asyncio.timeout`).
"""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import httptools
import httpx


class WireTransport(httpx.AsyncBaseTransport):
    """One pool of connections, as many as there are requests at once."""

    def __init__(self) -> None:
        self._idle: list[_Connection] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.scheme != "http":
            raise httpx.UnsupportedProtocol(f"{request.url.scheme}:// is not plain HTTP", request=request)
        connection = self._reuse() or await _connect(request)
        try:
            connection.send(request, await request.aread())
            while not connection.has_headers:
                await connection.changed()
        except BaseException:  # a cancel as well: half a response must not be read by the next request
            connection.abort()
            raise
        return httpx.Response(
            connection.status_code, headers=connection.headers, stream=_Body(connection, self._idle), request=request
        )

    async def aclose(self) -> None:
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    def _reuse(self) -> "_Connection | None":
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None


class _Connection(asyncio.Protocol):
    """One socket, one request at a time. The `on_` methods are httptools' callbacks."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.has_headers = False
        self.is_complete = False
        self._keep_alive = False

    @property
    def is_open(self) -> bool:
        return self._failure is None

    @property
    def status_code(self) -> int:
        return int(self._parser.get_status_code())

    @property
    def is_reusable(self) -> bool:
        return self.is_open and self.is_complete and self._keep_alive

    def send(self, request: httpx.Request, body: bytes) -> None:
        self._reset()
        assert self._transport is not None
        head = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
        head += [b"%s: %s" % header for header in request.headers.raw]
        self._transport.write(b"\r\n".join([*head, b"", body]))

    async def changed(self) -> None:
        """Return when something has arrived. Raises httpx.ReadError when nothing more can."""
        if self._failure is not None:
            raise self._failure
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its base class

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._failure = httpx.RemoteProtocolError(str(error))
            self.abort()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._failure is None:
            self._failure = httpx.ReadError(f"the server closed the connection{f': {exc}' if exc else ''}")
        self._wake()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.has_headers = True

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.is_complete = True
        self._keep_alive = bool(self._parser.should_keep_alive())

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Body(httpx.AsyncByteStream):
    """A response's body: whatever has arrived since the last read, as one piece."""

    def __init__(self, connection: _Connection, idle: list[_Connection]) -> None:
        self._connection = connection
        self._idle = idle

    async def __aiter__(self) -> AsyncIterator[bytes]:
        connection = self._connection
        while True:
            if connection.body:
                pieces, connection.body = connection.body, []
                yield pieces[0] if len(pieces) == 1 else b"".join(pieces)
            elif connection.is_complete:
                return
            else:
                await connection.changed()

    async def aclose(self) -> None:
        if self._connection.is_reusable:
            self._idle.append(self._connection)
        else:
            self._connection.abort()


async def _connect(request: httpx.Request) -> _Connection:
    loop = asyncio.get_running_loop()
    try:
        _, connection = await loop.create_connection(_Connection, request.url.host, request.url.port or 80)
    except OSError as error:
        raise httpx.ConnectError(str(error), request=request) from error
    return connection
