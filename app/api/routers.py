"""Every router of the API, in the order in which paths are tried."""

from fastapi import APIRouter

from app.api import ops, personas, users
from app.api.characters import adapters, exports, imports, inspector, pictures
from app.api.characters import routes as characters
from app.api.chat import openai
from app.api.lorebooks import routes as lorebooks
from app.api.sessions import auto, memories, opening, reading, streams, tree, turns
from app.api.sessions import exports as chat_exports
from app.api.sessions import imports as chat_imports
from app.api.synthesis import routes as synthesis


def all_routers() -> list[APIRouter]:
    """`/characters/synthesize` and the like stand before `/characters/{id}`."""
    return [
        openai.router,
        synthesis.router,
        characters.router,
        pictures.router,
        imports.router,
        exports.router,
        inspector.router,
        adapters.router,
        lorebooks.router,
        personas.router,
        opening.router,
        reading.router,
        turns.router,
        memories.router,
        auto.router,
        tree.router,
        streams.router,
        chat_imports.router,
        chat_exports.router,
        users.router,
        ops.router,
    ]
