"""Sessions with a character that has lore of every kind, for tests."""

from typing import Any

from tests.live import Live
from tests.talks import prompt

SAM = {"name": "Sam"}
FREEZE = {"opencharacter": {"freeze": True}}


def entry(key: str, content: str, **fields: Any) -> dict[str, Any]:
    return {"keys": [key], "content": content, "extensions": {}, "enabled": True, "insertion_order": 1, **fields}


BOOK = {
    "extensions": {},
    "entries": [
        entry("", "The sea is {{char}}'s.", constant=True),
        entry("dragon", "Dragons bite {{user}}."),
        entry("oath", "An oath was sworn.", extensions=FREEZE),
        entry("bell", "The bell rings on.", extensions={"sticky": 4}),
    ],
}


async def open_with(live: Live, data: dict[str, Any], **fields: Any) -> str:
    """A session with a new character of these fields; its id."""
    card = {"name": "Odo", "first_mes": "Good morning.", "character_book": BOOK, **data}
    made = (await live.client.post("/characters", json=card)).raise_for_status().json()
    body = {"character_id": made["id"], "user": SAM, **fields}
    session: str = (await live.client.post("/sessions", json=body)).raise_for_status().json()["id"]
    return session


async def say(live: Live, session: str, text: str) -> str:
    """The prompt that answers `text`."""
    answer = await live.client.post(f"/sessions/{session}/messages", json={"content": text})
    assert answer.status_code == 200, answer.text
    return prompt(live)
