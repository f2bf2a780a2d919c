"""Run the server under uvicorn, and say in the terminal what is going on."""

import asyncio
import logging
import signal
import sys
from typing import NoReturn

import uvicorn
import uvloop

from app.errors import ApiError
from app.listener import AddressError, listen, take_address
from app.logs import configure_logs
from app.main import create_app
from app.settings import Settings
from app.store.durability import DurabilityError
from app.store.embedded import EmbeddedRedisError
from models.engine import Engine, EngineError
from models.nli import NliError
from models.renderer import RenderError

logger = logging.getLogger(__name__)

GRACE_S = 10
WATCH_S = 0.25


def serve(settings: Settings) -> int:
    """Serve until told to stop. Returns 0 after a stop that was asked for, 1 when start-up or the engine failed."""
    configure_logs(settings.log_level)
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, _leave)
    try:
        return uvloop.run(_serve(settings))
    except (AddressError, EmbeddedRedisError, DurabilityError, EngineError, NliError, RenderError, ApiError) as error:
        logger.critical("%s", error)
        return 1


async def _serve(settings: Settings) -> int:
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        http="httptools",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = uvicorn.Server(config)
    listener = take_address(settings.host, settings.port)
    async with app.router.lifespan_context(app):
        watcher = asyncio.create_task(_stop_when_dead(app.state.turns.engine, server))
        listen(listener, config.backlog)
        host, port = listener.getsockname()[:2]
        logger.info("listening on http://%s:%s, its API described at /docs; Ctrl-C stops", host, port)
        await server.serve(sockets=[listener])
        if not watcher.done():
            watcher.cancel()
            return 0
    return 1


async def _stop_when_dead(engine: Engine, server: uvicorn.Server) -> None:
    """Stop the server when its engine has died: it can't be brought back, a supervisor can start another."""
    while (error := engine.error()) is None or server.should_exit:
        await asyncio.sleep(WATCH_S)
    logger.critical("the inference engine has died, and the server stops: %s", error)
    server.should_exit = True


def _leave(*_: object) -> NoReturn:
    """A signal to stop, while uvicorn isn't yet or no longer at it: leave by unwinding, so that all is closed."""
    sys.exit(0)
