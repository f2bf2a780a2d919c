"""Episodes played through an engine, as the server would: prompts of exact ids, replies taken as they come."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from models.engine import Engine, InvalidRequest, SamplingParams
from models.evaluation.episodes import Episode, Question
from models.prompt import build_prompt
from models.renderer import Turn
from models.scene import Scene
from models.sections import build_head, build_insertions
from models.synthesis.profile_prompt import build_profile_params, build_profile_turns

_REPLY_TOKENS = 200
# Enough to keep a small engine busy.
_CONCURRENT = 64


@dataclass(frozen=True, slots=True)
class Reply:
    """What was asked, what was said, and whether it came to an end by itself."""

    episode: Episode
    question: Question
    text: str
    finished: bool


async def play_episodes(engine: Engine, episodes: Sequence[Episode], temperature: float) -> list[Reply]:
    """All replies of all episodes, episode by episode."""
    gate = asyncio.Semaphore(_CONCURRENT)

    async def play(number: int, episode: Episode) -> list[Reply]:
        async with gate:
            return await _play_episode(engine, episode, temperature, f"recall-{temperature}-{number}")

    played = await asyncio.gather(*(play(number, episode) for number, episode in enumerate(episodes)))
    return [reply for replies in played for reply in replies]


async def write_profiles(engine: Engine, personas: Sequence[str], temperature: float) -> list[str]:
    """What the model writes for each persona under the profile's schema; nothing where the engine gave it up."""
    gate = asyncio.Semaphore(_CONCURRENT)

    async def write(number: int, persona: str) -> str:
        async with gate:
            prompt = engine.renderer.render(build_profile_turns(engine.renderer, persona))
            params = build_profile_params(len(prompt), engine.max_model_len, temperature=temperature, seed=0)
            try:
                ids, _ = await _generate(engine, prompt, params, f"profile-{temperature}-{number}")
            except InvalidRequest:
                return ""
            return engine.renderer.decode(ids)

    return list(await asyncio.gather(*(write(number, persona) for number, persona in enumerate(personas))))


async def _play_episode(engine: Engine, episode: Episode, temperature: float, request_id: str) -> list[Reply]:
    renderer, character = engine.renderer, episode.character
    scene = Scene(character.card, character.user)
    head, inserted = build_head(renderer.encode, scene), build_insertions(renderer.encode, scene)
    greetings = character.card.greetings()[:1]
    turns = [Turn("assistant", renderer.encode(character.card.expand(text, character.user.name))) for text in greetings]
    replies, start = [], 0
    for number, question in enumerate(episode.questions):
        turns.append(Turn("user", renderer.encode(question.text)))
        prompt = build_prompt(
            renderer, head, turns, inserted=inserted, limit_tokens=engine.max_model_len - _REPLY_TOKENS, start=start
        )
        start = prompt.start
        params = SamplingParams(max_tokens=_REPLY_TOKENS, temperature=temperature, top_p=0.95, seed=number)
        ids, finished = await _generate(engine, prompt.token_ids, params, f"{request_id}-{number}")
        turns.append(Turn("assistant", ids))
        replies.append(Reply(episode, question, renderer.decode(ids), finished))
    return replies


async def _generate(
    engine: Engine, prompt: list[int], params: SamplingParams, request_id: str
) -> tuple[list[int], bool]:
    """Ids of a reply without the token that ends it, and whether there was one."""
    ids: list[int] = []
    finished = False
    async for chunk in engine.generate(prompt, params, request_id=request_id):
        ids += chunk.token_ids
        finished = chunk.finish_reason == "stop"
    return [token for token in ids if token not in engine.renderer.stop_token_ids], finished
