"""Files sent to a server: cards that bring pictures, and how they are imported."""

import io
from typing import Any

import httpx
from PIL import Image

from tests.cards import ICON, PORTRAIT, charx, v3
from tests.live import Live

JOY = "assets/emotion/images/joy.webp"


def draw(kind: str, size: tuple[int, int] = (8, 6), colour: str = "red") -> bytes:
    """A small picture of this kind, as Pillow calls it."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, kind)
    return out.getvalue()


SMILE = draw("WEBP")


def asset(kind: str, path: str, name: str) -> dict[str, str]:
    return {"type": kind, "uri": f"embeded://{path}", "name": name, "ext": path.rpartition(".")[2]}


def illustrated(**data: Any) -> bytes:
    """A CHARX with an avatar, an expression, and a file that no asset names."""
    assets = [asset("icon", ICON, "main"), asset("emotion", JOY, "joy")]
    return charx(v3(assets=assets, **data), {ICON: PORTRAIT, JOY: SMILE, "module.risum": b"\0\1"})


async def send(live: Live, blob: bytes, name: str = "") -> httpx.Response:
    """Import one file, as the body."""
    return await live.client.post("/characters/import", content=blob, params={"name": name} if name else {})


async def bring(live: Live, blob: bytes) -> str:
    """Import one file; returns its character's path."""
    [result] = (await send(live, blob)).raise_for_status().json()["results"]
    return f"/characters/{result['id']}"
