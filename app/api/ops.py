"""Is it alive, is it ready, how is it doing."""

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from app.api.http.deps import MetricsDep, TurnsDep
from app.errors import EngineDownError, UnavailableError
from app.store.connection import answers

router = APIRouter(tags=["operations"])


@router.get("/health", response_model=None)
async def health(turns: TurnsDep) -> Response:
    """200 while the process and its engine live."""
    if turns.engine.error() is not None:
        raise EngineDownError("the inference engine has died")
    return JSONResponse({"status": "ok"})


@router.get("/ready", response_model=None)
async def ready(request: Request, turns: TurnsDep) -> Response:
    """200 when a turn would work now: the engine lives and Redis answers."""
    if turns.engine.error() is not None:
        raise EngineDownError("the inference engine has died")
    if not await answers(request.app.state.redis):
        raise UnavailableError("Redis doesn't answer", code="store_unavailable")
    return JSONResponse(
        {"status": "ready", "model": turns.engine.model_id, "max_model_len": turns.engine.max_model_len}
    )


@router.get("/metrics", response_model=None)
async def metrics(metrics: MetricsDep) -> Response:
    """Prometheus's text format."""
    return Response(metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")
