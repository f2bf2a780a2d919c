"""Requests that name a session and are none of its turns: front-ends' jobs about a chat, and what isn't to be stored.

Recognised are: `"store": false`; one of Open WebUI's tasks as `task`, in the body or in its `metadata`; a transcript
that ends with the system's words behind a reply, as SillyTavern's quiet prompts do; and one message alone that begins
with `### Task:` and holds a `<chat_history>`, as Open WebUI's titles, tags, follow-ups and queries do. One more is
known by the session alone: a message that quotes it (`app.sessions.reconciliation`).
"""

import re
from collections.abc import Sequence
from typing import Any

from app.api.chat.messages import spoken
from app.sessions.reconciliation import Answerer
from models.examples import Line

TASKS = ("title", "tags", "follow_up", "emoji", "query", "image_prompt", "autocomplete", "moa_response")
TASK_NAMES = frozenset({*(f"{task}_generation" for task in TASKS), "function_calling"})
JOB = re.compile(r"\s*#+ Task:")


def find_aside(lines: Sequence[Line], *, store: Any, task: Any, metadata: Any) -> Answerer | None:
    """Who answers, outside of the session: a job the model, what else isn't stored the character. None for a turn."""
    said = spoken(lines)
    tasks = [task, metadata.get("task") if isinstance(metadata, dict) else None]
    if any(isinstance(name, str) and name in TASK_NAMES for name in tasks):
        return "model"
    if len(said) == 1 and is_job(said[0].text):
        return "model"
    if store is False or (lines[-1].role == "system" and said[-1].role == "assistant"):
        return "character"
    return None


def is_job(text: str) -> bool:
    """Whether a message is Open WebUI's prompt for one of its tasks."""
    return bool(JOB.match(text)) and 0 <= text.find("<chat_history>") < text.rfind("</chat_history>")
