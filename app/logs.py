"""Logging, configured once: one line an event on standard error, no message text above DEBUG."""

import logging.config


def configure_logs(level: str) -> None:
    """Send everything at `level` to standard error; chatty libraries only from WARNING on."""
    quiet = ("vllm", "uvicorn.access", "uvicorn.error", "httpx", "httpcore", "transformers", "asyncio")
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"format": "%(asctime)s %(levelname)-7s %(message)s", "datefmt": "%H:%M:%S"}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"level": level, "handlers": ["stderr"]},
            "loggers": {name: {"level": "WARNING"} for name in quiet},
        }
    )
