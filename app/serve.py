"""Run the server under uvicorn, and say in the terminal what is going on."""

import logging

import uvicorn

from app.logs import configure_logs
from app.main import create_app
from app.settings import Settings

logger = logging.getLogger(__name__)

GRACE_S = 10


def serve(settings: Settings) -> int:
    """Serve until told to stop. Returns 0 after a stop that was asked for, 1 when start-up or the engine failed."""
    configure_logs(settings.log_level)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = uvicorn.Server(config)
    server.run()
    return 0 if server.started and not app.state.engine_died else 1
