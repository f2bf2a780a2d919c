"""The application with a fake engine, in the test's own event loop, behind real sockets and a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import uvicorn
from fastapi import FastAPI

from app.main import create_app
from app.settings import Settings
from tests.fake_engine import FakeEngine

PATIENCE_S = 10.0


@dataclass(frozen=True)
class Live:
    """A server in this event loop: `client` talks to it, `engine` is what it runs on."""

    app: FastAPI
    engine: FakeEngine
    client: httpx.AsyncClient


@asynccontextmanager
async def serve_live(engine: FakeEngine, redis_url: str, **settings: object) -> AsyncIterator[Live]:
    """Serve with `engine` on a free port, and stop at exit."""
    chosen = Settings.model_validate({"redis_url": redis_url, "embeddings": "off", "memory_notes": False, **settings})

    async def open_engine(_: Settings) -> FakeEngine:
        return engine

    app = create_app(chosen, open_engine)
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, http="httptools", lifespan="on", log_config=None, timeout_graceful_shutdown=1)
    )
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            if serving.done():
                raise RuntimeError("the application didn't start")
            await asyncio.sleep(0.001)
        port = server.servers[0].sockets[0].getsockname()[1]
        # No TLS here, and reading the system's certificates takes longer than the test.
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S, verify=False) as client:
            yield Live(app, engine, client)
    finally:
        engine.go.set()
        server.should_exit = True
        await serving
