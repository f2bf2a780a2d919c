"""The address that the server listens on, taken before the model loads: a port in use is known at once."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager


class AddressError(RuntimeError):
    """The server can't listen where it is told to; the message says what to do."""


def take_address(host: str, port: int) -> socket.socket:
    """A socket bound to the address; clients are refused until it listens. Raises AddressError."""
    with _refused(host, port):
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
        except OSError:
            listener.close()
            raise
        return listener


def listen(listener: socket.socket, backlog: int) -> None:
    """Let clients in. Raises AddressError when another server that had bound the address, too, came first."""
    host, port = listener.getsockname()[:2]
    with _refused(host, port):
        listener.listen(backlog)


@contextmanager
def _refused(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressError(
                f"port {port} on {host} is in use: stop the server that listens there, or choose another port "
                "(`make serve PORT=8001`, or OPENCHARACTER_PORT=8001)"
            ) from error
        raise AddressError(
            f"can't listen on {host}, port {port} ({error.strerror}): set OPENCHARACTER_HOST and OPENCHARACTER_PORT"
        ) from error
