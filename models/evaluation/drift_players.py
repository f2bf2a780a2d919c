"""Long conversations, one exchange after the other: as transcripts over OpenAI's API, or in sessions of our server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from models.evaluation.episodes import Episode
from models.evaluation.interviews import read_reply
from models.evaluation.remote_recall import close_prompt, fit_lines, open_conversation
from models.synthesis.pipeline.task import Asking, Row, Task
from models.synthesis.teachers.teacher import Line, Question, TeacherDead, TeacherFailed

REPLY_TOKENS = 200
NOT_FOR_US = (401, 403, 404, 405)


@dataclass(frozen=True, slots=True)
class TranscriptPlayer:
    """Sends the whole conversation with each message, the oldest exchanges left out where the context is full."""

    episodes: Sequence[Episode]
    temperature: float
    seed: int

    async def write(self, task: Task, asking: Asking) -> Row:
        episode = self.episodes[task.content["number"]]
        lines, tail = open_conversation(episode), close_prompt(episode)
        replies = []
        for turn, question in enumerate(episode.questions):
            lines.append(Line("user", question.text))
            said = fit_lines([*lines[:-1], *tail, lines[-1]], asking)
            asked = Question(said, REPLY_TOKENS, self.temperature, task.seed(self.seed) + turn)
            lines.append(Line("assistant", await asking.ask(asked, read_reply)))
            replies.append(lines[-1].text)
        return {"replies": replies}


@dataclass(frozen=True, slots=True)
class SessionPlayer:
    """Registers the character, opens a session, and leaves neither behind. `body` goes with each message."""

    episodes: Sequence[Episode]
    url: str
    api_key: str | None
    timeout_s: float
    body: Mapping[str, Any]
    seed: int

    async def write(self, task: Task, _: Asking) -> Row:
        episode = self.episodes[task.content["number"]]
        headers = {"authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        try:
            async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=self.timeout_s) as client:
                return {"replies": await self._play(client, episode)}
        except httpx.HTTPError as error:
            raise TeacherFailed(f"{type(error).__name__}: {error}") from error

    async def _play(self, client: httpx.AsyncClient, episode: Episode) -> list[str]:
        character = (await post(client, "/characters", episode.character.card.to_v2()))["id"]
        try:
            user = {"name": episode.character.user.name, "persona": episode.character.user.persona}
            session = (await post(client, "/sessions", {"character_id": character, "user": user}))["id"]
            try:
                replies = []
                for turn, question in enumerate(episode.questions):
                    body = {**self.body, "content": question.text, "seed": self.seed + turn}
                    answer = await post(client, f"/sessions/{session}/messages", body)
                    replies.append(str(answer["message"]["content"]))
                return replies
            finally:
                await client.delete(f"/sessions/{session}")
        finally:
            await client.delete(f"/characters/{character}")


async def post(client: httpx.AsyncClient, path: str, body: Mapping[str, Any]) -> Any:  # whatever JSON it answers
    """What our server answers. Raises TeacherDead where it never will, TeacherFailed and httpx's errors else."""
    answer = await client.post(path, json=body)
    if answer.status_code in NOT_FOR_US:
        raise TeacherDead(f"the server answers {answer.status_code} to {path}: {answer.text[:300]}")
    if answer.is_error:
        raise TeacherFailed(f"the server answers {answer.status_code} to {path}: {answer.text[:300]}")
    return answer.json()
