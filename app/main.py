"""The application: opens Redis, the library and the engine in its lifespan and hands them to the API."""

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from app.api.http import failure
from app.api.routers import all_routers
from app.metrics import Metrics
from app.security import ApiKeys, LocalOnly
from app.sessions.afterwards import Afterwards
from app.sessions.running import Running
from app.sessions.shelf import Shelf
from app.sessions.turns import Turns
from app.sessions.warming import Warming
from app.settings import Settings
from app.store.characters import CharacterStore
from app.store.connection import connect
from app.store.embedded import embedded_redis
from app.store.lorebooks import LorebookStore
from app.store.personas import PersonaStore
from app.store.sessions import SessionStore
from app.store.transcripts import TranscriptStore
from app.worker.pool import Worker
from characters.library import load_library
from models.engine import Engine
from models.vllm_engine import open_vllm_engine

logger = logging.getLogger(__name__)

DRAIN_S = 10.0
# New objects until a collection; a streamed token makes dozens. Measured at 64 streams: 5 % of the API's CPU.
GC_THRESHOLD = 50_000

OpenEngine = Callable[[Settings], Awaitable[Engine]]


async def open_engine(settings: Settings) -> Engine:
    """The engine that the settings name."""
    return await open_vllm_engine(
        settings.model_path,
        model_id=settings.model_id,
        max_model_len=settings.max_model_len,
        max_num_seqs=settings.max_num_seqs,
        gpu_memory_utilization=settings.gpu_memory_utilization,
        load_format=settings.load_format,
        cpu_kv_cache_gib=settings.cpu_kv_cache_gib,
    )


def create_app(settings: Settings, open_engine: OpenEngine = open_engine) -> FastAPI:
    """The server as an ASGI application. `open_engine` is replaced by tests that inject faults."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        started = time.perf_counter()
        async with AsyncExitStack() as stack:
            if settings.redis_url is None:
                logger.info("starting Redis in %s", settings.data_dir)
                url = await stack.enter_async_context(embedded_redis(settings.data_dir / "redis"))
            else:
                url = settings.redis_url.get_secret_value()
            redis = await stack.enter_async_context(connect(url))
            most = settings.max_versions
            store = CharacterStore(redis, reserved=settings.model_id, most_versions=most)
            await store.plant(load_library())
            logger.info("loading the model %s (half a minute for the tiny one, minutes for 8B)", settings.model)
            engine = await open_engine(settings)
            stack.push_async_callback(engine.close)
            sessions = SessionStore(redis, settings.lease_s)
            running = Running(
                sessions,
                app.state.metrics,
                most=settings.max_concurrent_requests,
                stream_interval=settings.stream_interval,
            )
            afterwards = Afterwards(
                engine.renderer,
                sessions,
                Warming(engine, running, app.state.metrics, below=settings.prewarm_below),
                max_model_len=engine.max_model_len,
            )
            lorebooks = LorebookStore(redis, most_versions=most)
            personas = PersonaStore(redis, most_versions=most)
            turns = Turns(
                engine,
                sessions,
                app.state.metrics,
                running,
                characters=store,
                shelf=Shelf(lorebooks, personas),
                afterwards=afterwards,
                reply_tokens=settings.reply_tokens,
            )
            app.state.worker = Worker()
            stack.callback(asyncio.create_task(running.keep_leases(settings.lease_s / 3)).cancel)
            stack.push_async_callback(afterwards.close)
            stack.push_async_callback(running.drain, DRAIN_S)
            app.state.lorebooks, app.state.personas = lorebooks, personas
            app.state.transcripts = TranscriptStore(redis)
            app.state.redis, app.state.characters, app.state.turns = redis, store, turns
            # What start-up has made stays: the collector needn't look at it again, nor after every few tokens.
            gc.collect()
            gc.freeze()
            gc.set_threshold(GC_THRESHOLD)
            logger.info("ready after %.0f s: %s tokens of context", time.perf_counter() - started, engine.max_model_len)
            yield
            gc.unfreeze()

    app = FastAPI(title="OpenCharacter", lifespan=lifespan, strict_content_type=False)
    app.state.settings = settings
    app.state.metrics = Metrics()
    app.state.respond = failure.responder(app.state.metrics)
    failure.install(app, app.state.respond)
    for router in all_routers():
        app.include_router(router)
    if settings.api_keys:
        app.add_middleware(ApiKeys, keys=settings.api_keys)
    else:
        app.add_middleware(LocalOnly)
    return app
