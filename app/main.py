"""The application: opens Redis, the library and the engine in its lifespan and hands them to the API."""

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from app.api.http import failure
from app.api.http.idempotency import Idempotency
from app.api.routers import all_routers
from app.metrics import Metrics
from app.security import ApiKeys, LocalOnly
from app.sessions.afterwards import Afterwards
from app.sessions.bounds import BoundedRenderer
from app.sessions.cancelling import Cancelling
from app.sessions.following import Following
from app.sessions.logs import Logs
from app.sessions.memory import Memory, Recall
from app.sessions.notes import Notes
from app.sessions.queue import Queue
from app.sessions.running import Running
from app.sessions.shelf import Shelf
from app.sessions.turns import Turns
from app.sessions.voices import Voices
from app.sessions.warming import Warming
from app.settings import Settings
from app.store.adapters import AdapterStore
from app.store.characters import CharacterStore
from app.store.connection import connect, redis_errors
from app.store.durability import check_durability
from app.store.embedded import embedded_redis
from app.store.idempotency import Claims
from app.store.lorebooks import LorebookStore
from app.store.memories import MemoryStore
from app.store.personas import PersonaStore
from app.store.scratch import scratch_folder
from app.store.sessions import SessionStore
from app.store.stops import Stops
from app.store.streams import StreamStore
from app.store.transcripts import TranscriptStore
from app.store.users import UserStore
from app.worker.pool import Worker
from characters.library import load_library
from models.embedding import Embedder, EmbeddingError, RemoteEmbedder, has_local_embedder, open_local_embedder
from models.engine import Engine
from models.evaluation.fidelity import Entailment, Judge, Likelihood
from models.memory.ranking import Weights
from models.nli import open_nli
from models.vllm_engine.opening import open_vllm_engine

logger = logging.getLogger(__name__)

DRAIN_S = 10.0
# How often one looks for turns that other servers were told to stop.
HEAR_STOPS_S = 0.2
DAY_S = 86400.0
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
        max_lora_rank=settings.max_lora_rank if settings.adapters_dir else None,
        max_loras=settings.max_loras,
        max_cpu_loras=settings.max_cpu_loras,
    )


def open_adapters(settings: Settings, engine: Engine, stack: AsyncExitStack) -> AdapterStore | None:
    """The adapters that characters can speak with, for as long as `stack` is open; None where there are none."""
    if settings.adapters_dir is None or engine.frame is None:
        return None
    copies = stack.enter_context(scratch_folder(settings.data_dir.resolve() / "adapters"))
    return AdapterStore(settings.adapters_dir.resolve(), copies, engine.frame)


async def open_embedder(settings: Settings) -> Embedder | None:
    """The embedding model that the settings name; None where memories are found by their words.

    Raises EmbeddingError where one is asked for that can't be loaded.
    """
    if settings.embeddings.startswith("http"):
        key = settings.embedding_api_key
        return RemoteEmbedder(settings.embeddings, settings.embedding_model, key.get_secret_value() if key else None)
    if settings.embeddings == "off" or (settings.embeddings == "auto" and not has_local_embedder()):
        return None
    try:
        return await open_local_embedder(settings.embedding_model)
    except EmbeddingError as error:
        if settings.embeddings == "local":
            raise
        logger.warning("memories are found by their words alone: %s", error)
        return None


async def open_judge(settings: Settings, engine: Engine, stack: AsyncExitStack) -> Judge:
    """Who tells how true replies are to their card, for as long as `stack` is open. Raises NliError."""
    if settings.nli_model is None:
        return Likelihood(engine)
    logger.info("loading the judge %s", settings.nli_model)
    nli = await open_nli(settings.nli_model)
    stack.push_async_callback(nli.close)
    return Entailment(nli)


def build_memory(settings: Settings, store: MemoryStore, engine: Engine, embedder: Embedder | None) -> Memory:
    """What sessions remember, and how it comes back."""
    weights = Weights(
        settings.memory_meaning,
        settings.memory_mood,
        settings.memory_recency,
        settings.memory_half_life_days * DAY_S,
        settings.memory_least,
    )
    return Memory(
        store,
        BoundedRenderer(engine.renderer, engine.max_model_len).count_tokens,
        engine.max_model_len,
        embedder=embedder,
        notes=Notes(engine) if settings.memory_notes else None,
        recall=Recall(settings.memory_most, settings.memory_tokens, weights),
    )


def create_app(settings: Settings, open_engine: OpenEngine = open_engine) -> FastAPI:
    """The server as an ASGI application. `open_engine` is replaced by tests that inject faults."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        started = time.perf_counter()
        async with AsyncExitStack() as stack:
            if settings.redis_url is None:
                logger.info("starting Redis in %s", settings.data_dir)
                url = await stack.enter_async_context(embedded_redis(settings.data_dir / "redis", settings.durability))
            else:
                url = settings.redis_url.get_secret_value()
            redis = await stack.enter_async_context(connect(url))
            async with redis_errors():
                await check_durability(redis, settings.durability)
            most = settings.max_versions
            store = CharacterStore(redis, reserved=settings.model_id, most_versions=most)
            await store.plant(load_library())
            logger.info("loading the model %s (half a minute for the tiny one, minutes for 8B)", settings.model)
            engine = await open_engine(settings)
            voices = Voices(engine, open_adapters(settings, engine, stack))
            stack.push_async_callback(engine.close)
            sessions = SessionStore(redis, settings.lease_s, settings.durability)
            stops, streams = Stops(redis), StreamStore(redis, settings.resume_s)
            running = Running(
                sessions,
                stops,
                app.state.metrics,
                most=settings.max_concurrent_requests,
                stream_interval=settings.stream_interval,
            )
            embedder = await open_embedder(settings)
            if embedder is not None:
                stack.push_async_callback(embedder.close)
            memory = build_memory(settings, MemoryStore(redis), engine, embedder)
            afterwards = Afterwards(
                engine.renderer,
                sessions,
                Warming(engine, running, app.state.metrics, voices, below=settings.prewarm_below),
                max_model_len=engine.max_model_len,
                remember=memory.remember,
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
                queue=Queue(sessions, running, settings.queue_s),
                voices=voices,
                judge=await open_judge(settings, engine, stack),
                memory=memory,
                reply_tokens=settings.reply_tokens,
            )
            app.state.claims = Claims(redis, settings.lease_s)
            stack.callback(asyncio.create_task(app.state.claims.keep(settings.lease_s / 3)).cancel)
            app.state.worker = Worker(answering=lambda: running.count > 0)
            app.state.logs = Logs(streams)
            app.state.following = Following(streams, sessions, app.state.metrics, most=settings.max_concurrent_requests)
            app.state.cancelling = Cancelling(sessions, running, stops, settings.lease_s)
            stack.callback(asyncio.create_task(running.keep_leases(settings.lease_s / 3)).cancel)
            stack.callback(asyncio.create_task(running.hear_stops(HEAR_STOPS_S)).cancel)
            stack.callback(asyncio.create_task(app.state.logs.keep()).cancel)
            stack.push_async_callback(memory.close)
            stack.push_async_callback(afterwards.close)
            stack.push_async_callback(running.drain, DRAIN_S)
            app.state.lorebooks, app.state.personas = lorebooks, personas
            app.state.transcripts = TranscriptStore(redis)
            app.state.users = UserStore(redis, sessions)
            app.state.memory = memory
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
    app.add_middleware(Idempotency)
    if settings.api_keys:
        app.add_middleware(ApiKeys, keys=settings.api_keys)
    else:
        app.add_middleware(LocalOnly)
    return app
