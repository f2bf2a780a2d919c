"""A Redis Cluster of three nodes without replicas, for tests to put under a server and to move slots in."""

import random
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from redis.crc import key_slot

from app.store.embedded import find_redis_server
from tests.conftest import wait_until

NODES = 3
SLOTS = 16384
# A node's bus listens so much higher.
BUS = 10_000
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Node:
    """One of the cluster's servers, and a connection that knows nothing of the others."""

    port: int
    client: Any  # synchronous; redis-py's annotations can't say so

    @property
    def id(self) -> str:
        name: bytes = self.client.execute_command("CLUSTER MYID")
        return name.decode()

    def is_whole(self) -> bool:
        """Whether it knows all nodes, and who has which slot."""
        told = self.client.execute_command("CLUSTER INFO")
        state = told if isinstance(told, dict) else dict(line.split(":") for line in told.decode().split())
        return state["cluster_state"] == "ok" and int(state["cluster_known_nodes"]) == NODES


@dataclass(frozen=True)
class Cluster:
    """Three nodes, each with a third of the slots."""

    nodes: list[Node]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in self.nodes[:2])

    def keys(self, pattern: str = "*") -> list[str]:
        return sorted(key.decode() for node in self.nodes for key in node.client.keys(pattern))

    def owner(self, key: str) -> Node:
        """The node that has the key."""
        return next(node for node in self.nodes if node.client.keys(key))

    def begin_move(self, key: str) -> "Move":
        """Open the key's slot for its move to another node, and move its keys."""
        source, slot = self.owner(key), key_slot(key.encode())
        target = next(node for node in self.nodes if node is not source)
        target.client.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", source.id)
        source.client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target.id)
        for moved in source.client.execute_command("CLUSTER GETKEYSINSLOT", slot, 1000):
            source.client.execute_command("MIGRATE", HOST, target.port, moved, 0, 5000)
        return Move(self, slot, target)


@dataclass(frozen=True)
class Move:
    """A slot on its way."""

    cluster: Cluster
    slot: int
    target: Node

    def finish(self) -> None:
        for node in (self.target, *self.cluster.nodes):
            node.client.execute_command("CLUSTER SETSLOT", self.slot, "NODE", self.target.id)


@contextmanager
def run_cluster(directory: Path) -> Iterator[Cluster]:
    """Start the nodes, introduce them to each other, and kill them at exit."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        nodes = []
        for number in range(NODES):
            port = _free_port()
            processes.append(_start(directory / str(number), port))
            nodes.append(Node(port, Redis(HOST, port)))
        for number, node in enumerate(nodes):
            wait_until(lambda node=node: _answers(node), "the node answers")  # type: ignore[misc]  # bound above
            first, last = number * SLOTS // NODES, (number + 1) * SLOTS // NODES
            node.client.execute_command("CLUSTER ADDSLOTS", *range(first, last))
            node.client.execute_command("CLUSTER MEET", HOST, nodes[0].port)
        wait_until(lambda: all(node.is_whole() for node in nodes), "the cluster is whole", 30)
        yield Cluster(nodes)
        for node in nodes:
            node.client.close()
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _start(directory: Path, port: int) -> subprocess.Popen[bytes]:
    directory.mkdir()
    options = {"dir": directory, "port": port, "bind": HOST, "cluster-enabled": "yes", "save": "", "appendonly": "yes"}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return subprocess.Popen([find_redis_server(), *words], stdout=subprocess.DEVNULL)


def _answers(node: Node) -> bool:
    with suppress(Exception):
        return bool(node.client.ping())
    return False


def _free_port() -> int:
    """A port that is free together with its bus's."""
    while True:
        port = random.randrange(15_000, 30_000)
        with suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind((HOST, port))
            other.bind((HOST, port + BUS))
            return port
