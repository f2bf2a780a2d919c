"""One Redis connection pool, and its failures in our own words."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.errors import UnavailableError

# redis-py's annotations can't say that this client's replies are bytes.
Replies = Any

CONNECTIONS = 32
CONNECT_S = 2.0
REPLY_S = 10.0


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Redis]:
    """A client for `url` that answers within seconds or fails; a connection that has gone stale is tried once more."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=REPLY_S,
        socket_connect_timeout=CONNECT_S,
        socket_timeout=REPLY_S,
        retry=Retry(NoBackoff(), 1),
        protocol=2,
    )
    client = Redis.from_pool(pool)
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def redis_errors() -> AsyncIterator[None]:
    """Whatever Redis can't do becomes a 503."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise UnavailableError(
            "the store is unreachable; nothing was saved but what this answer names", code="store_unavailable"
        ) from error


async def answers(client: Redis) -> bool:
    """Whether Redis answers now."""
    try:
        return bool(await client.ping())
    except (RedisError, OSError):
        return False
