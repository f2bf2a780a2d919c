"""One Redis, or a cluster of them, and its failures in our own words.

In a cluster, what a script or a pipeline touches in one step lies in one slot: what stands in braces in its keys.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from app.errors import UnavailableError

# redis-py's annotations can't say that this client's replies are bytes.
Replies = Any

CONNECTIONS = 32
# Of a cluster's node: there, who finds none free is refused.
NODE_CONNECTIONS = 4096
CONNECT_S = 2.0
REPLY_S = 10.0
# A node that fails is found out about once, and after a moment again.
CLUSTER_TRIES = 3
CLUSTER_PAUSE_S = 0.05
_DEFAULT_PORT = 6379


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Redis]:
    """A client for `url` that answers within seconds or fails; a connection that has gone stale is tried once more."""
    # A cluster's client has a Redis's methods, and no class in common with it.
    client = cast(Redis, _cluster(url)) if "+cluster:" in url else Redis.from_pool(_pool(url))
    try:
        yield client
    finally:
        await client.aclose()


def is_cluster(client: Redis) -> bool:
    """Whether the client is a cluster's."""
    return isinstance(client, RedisCluster)


def _pool(url: str) -> BlockingConnectionPool:
    return BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=REPLY_S,
        socket_connect_timeout=CONNECT_S,
        socket_timeout=REPLY_S,
        retry=Retry(NoBackoff(), 1),
        protocol=2,
    )


def _cluster(url: str) -> RedisCluster:
    """The cluster that has the nodes of `redis+cluster://user:password@host:port,host:port`; some are enough."""
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    return RedisCluster(
        startup_nodes=[_node(host) for host in hosts.split(",")],
        username=unquote(username) or None,
        password=unquote(password) or None,
        max_connections=NODE_CONNECTIONS,
        socket_connect_timeout=CONNECT_S,
        socket_timeout=REPLY_S,
        retry=Retry(ExponentialBackoff(base=CLUSTER_PAUSE_S, cap=1.0), CLUSTER_TRIES),
        protocol=2,
        ssl=parts.scheme.startswith("rediss"),
    )


def _node(host: str) -> ClusterNode:
    # As a URL's host, which may be an IPv6 address in brackets.
    parts = urlsplit(f"//{host}")
    return ClusterNode(parts.hostname or "localhost", parts.port or _DEFAULT_PORT)


@asynccontextmanager
async def redis_errors() -> AsyncIterator[None]:
    """Whatever Redis can't do becomes a 503."""
    try:
        yield
    except (RedisError, RedisClusterException, OSError) as error:
        raise UnavailableError(
            "the store is unreachable; nothing was saved but what this answer names", code="store_unavailable"
        ) from error


async def answers(client: Redis) -> bool:
    """Whether Redis answers now."""
    try:
        return bool(await client.ping())
    except (RedisError, RedisClusterException, OSError):
        return False
