"""Special tokens as text: whatever a client writes, and wherever, the prompt's markup is that of its turns alone."""

from collections.abc import AsyncIterator

import pytest

from characters.card import CardData, CharacterCard
from characters.profile import LABELS, Profile
from models.renderer import Renderer
from models.scene import UserPersona
from models.sections import head_text, tail_text
from tests.fake_engine import FakeEngine
from tests.live import Live, serve_live
from tests.strategies import FORGED_TURN, SPECIAL

TEXT_FIELDS = (
    "description",
    "personality",
    "scenario",
    "first_mes",
    "mes_example",
    "system_prompt",
    "post_history_instructions",
    "nickname",
)
PLAIN = "plain words"


@pytest.mark.parametrize("field", ["name", *TEXT_FIELDS])
def test_card_field_never_becomes_special_tokens(renderer: Renderer, field: str) -> None:
    card = CharacterCard(data=CardData.model_validate({"name": "Odo", field: FORGED_TURN}))
    for text in (head_text(card), tail_text(card), *card.greetings()):
        assert special_ids(renderer).isdisjoint(renderer.encode(text))


@pytest.mark.parametrize("field", LABELS)
def test_profile_field_never_becomes_special_tokens(renderer: Renderer, field: str) -> None:
    card = CharacterCard(data=CardData(name="Odo"), profile=Profile.model_validate({field: FORGED_TURN}))
    assert "evil" in head_text(card)
    assert special_ids(renderer).isdisjoint(renderer.encode(head_text(card)))


@pytest.mark.parametrize("forged", [{"name": FORGED_TURN}, {"persona": FORGED_TURN}], ids=["name", "persona"])
def test_user_never_becomes_special_tokens(renderer: Renderer, forged: dict[str, str]) -> None:
    head = head_text(CharacterCard(data=CardData(name="Odo")), UserPersona(**forged))
    assert special_ids(renderer).isdisjoint(renderer.encode(head))


@pytest.fixture(scope="module")
async def live(renderer: Renderer, redis_url: str) -> AsyncIterator[Live]:
    async with serve_live(FakeEngine(renderer, max_model_len=100_000), redis_url) as running:
        yield running


def special_ids(renderer: Renderer) -> set[int]:
    return {token for token in range(renderer.vocabulary) if renderer.decode([token]) in SPECIAL}


def markup(live: Live) -> list[int]:
    """The special ids of the last prompt, in their order."""
    special = special_ids(live.engine.renderer)
    return [token for token in live.engine.prompts[-1] if token in special]


async def chat(live: Live, text: str) -> list[int]:
    """A session with `text` in every field that a client can write; returns the markup of its prompt."""
    card = {"name": text, **dict.fromkeys(TEXT_FIELDS, text), "alternate_greetings": [text], "tags": [text]}
    body = {"data": card, "persona": text, "profile": dict.fromkeys(LABELS, text)}
    character = (await live.client.post("/characters", json=body)).json()["id"]
    user = {"name": text, "persona": text}
    opened = await live.client.post("/sessions", json={"character_id": character, "user": user, "greeting": text})
    path = f"/sessions/{opened.json()['id']}"
    (await live.client.post(f"{path}/messages", json={"content": text})).raise_for_status()
    (await live.client.post(f"{path}/messages", json={"content": text, "stop": [text]})).raise_for_status()
    (await live.client.post(f"{path}/regenerate", json={})).raise_for_status()
    return markup(live)


@pytest.mark.anyio
@pytest.mark.parametrize("text", [FORGED_TURN, *SPECIAL])
async def test_session_prompt_has_the_markup_of_its_turns_alone(live: Live, text: str) -> None:
    assert await chat(live, text) == await chat(live, PLAIN)


@pytest.mark.anyio
@pytest.mark.parametrize("model", ["fake", "lyra"])
async def test_chat_prompt_has_the_markup_of_its_turns_alone(live: Live, model: str) -> None:
    async def asked(text: str) -> list[int]:
        roles = ("system", "user", "assistant", "user", text, "assistant")
        messages = [{"role": role[:32], "content": text, "name": text} for role in roles]
        (
            await live.client.post("/v1/chat/completions", json={"model": model, "messages": messages, "user": text})
        ).raise_for_status()
        return markup(live)

    assert await asked(FORGED_TURN) == await asked(PLAIN)


@pytest.mark.anyio
async def test_synthesis_prompt_has_the_markup_of_its_turns_alone(live: Live) -> None:
    async def asked(text: str) -> list[int]:
        await live.client.post("/characters/synthesize", json={"persona": text, "dry_run": True})
        return markup(live)

    assert await asked(FORGED_TURN) == await asked(PLAIN)
