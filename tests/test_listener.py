"""The server's address: taken early, refused in one sentence."""

import socket

import pytest

from app.listener import AddressError, listen, take_address


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def test_clients_are_refused_until_the_server_listens() -> None:
    with take_address("127.0.0.1", 0) as listener:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port_of(listener)))
        listen(listener, 1)
        socket.create_connection(("127.0.0.1", port_of(listener))).close()


def test_port_in_use_is_named() -> None:
    with take_address("127.0.0.1", 0) as first:
        listen(first, 1)
        with pytest.raises(AddressError, match=rf"^port {port_of(first)} on 127\.0\.0\.1 is in use: .*PORT=8001"):
            take_address("127.0.0.1", port_of(first))


def test_two_that_load_at_once_are_told_apart_when_they_listen() -> None:
    with take_address("127.0.0.1", 0) as first, take_address("127.0.0.1", port_of(first)) as second:
        listen(first, 1)
        with pytest.raises(AddressError, match=f"^port {port_of(first)} "):
            listen(second, 1)


def test_port_is_free_again_right_after_its_server() -> None:
    with take_address("127.0.0.1", 0) as listener:
        listen(listener, 1)
        port = port_of(listener)
        client = socket.create_connection(("127.0.0.1", port))
        served, _ = listener.accept()
        served.close()  # the side that closes first keeps the address for a minute
        client.close()
    take_address("127.0.0.1", port).close()


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid", "2001:db8::1"])
def test_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(AddressError, match=f"^can't listen on {host}, port 8123 "):
        take_address(host, 8123)


def test_ipv6_is_taken() -> None:
    with take_address("::1", 0) as listener:
        assert listener.family == socket.AF_INET6
