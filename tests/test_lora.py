"""Adapters on the real engine: two of them and the model itself answer in one batch, each in its own voice."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.adapters import write_adapter
from tests.conftest import run_server
from tests.refusals import CHAT, assert_error

VOICES = {"plain": None, "northern": "north", "southern": "south"}
# All say the same, but for the adapter, which no prompt shows.
CARD = {"name": "Tove", "description": "Tove keeps a lighthouse and counts the ships that pass. " * 8}
LINES = ("Good evening. Who are you?", "Where were you born?", "What do you like?", "How many ships were there?")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters by PEFT itself, of weights that change what is said."""
    import peft
    import torch
    import transformers

    root = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(("north", "south")):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_pretrained("models/tiny")
        config = peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
        peft.get_peft_model(model, config).save_pretrained(str(root / name))
    write_adapter(root / "east", seed=3, rank=8)
    return root


@pytest.fixture(scope="module")
def voices(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server on which the same character speaks in three voices, two adapters at a time."""
    limits = {"max_loras": "2", "max_cpu_loras": "2", "max_lora_rank": "8"}
    options: dict[str, Any] = {"adapters_dir": str(folder), **limits}
    with (
        run_server(tmp_path_factory.mktemp("voices"), prewarm_below="0", **options) as server,
        httpx.Client(base_url=server.url, timeout=120) as client,
    ):
        for character_id, adapter in VOICES.items():
            client.post("/characters", json={"id": character_id, "data": CARD}).raise_for_status()
            if adapter:
                body = {"adapter": adapter}
                client.put(f"/characters/{character_id}/adapter", json=body).raise_for_status()
        yield client


def ask(client: httpx.Client, model: str, line: str, **more: Any) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": line}], "temperature": 0, "max_tokens": 12}
    answer: dict[str, Any] = client.post(CHAT, json=body | more).raise_for_status().json()
    return answer


def reply(client: httpx.Client, model: str, line: str, **more: Any) -> str:
    content: str = ask(client, model, line, **more)["choices"][0]["message"]["content"]
    return content


def test_adapters_and_the_model_answer_in_one_batch_each_in_its_own_voice(voices: httpx.Client) -> None:
    asked = [(model, line) for line in LINES for model in VOICES]
    alone = {one: reply(voices, *one, max_tokens=1) for one in asked}
    with ThreadPoolExecutor(len(asked)) as pool:
        together = list(pool.map(lambda one: reply(voices, *one), asked))
    said = {
        model: [text for (asked_of, _), text in zip(asked, together, strict=True) if asked_of == model]
        for model in VOICES
    }
    assert len({tuple(texts) for texts in said.values()}) == 3
    for one, text in zip(asked, together, strict=True):
        assert text.strip().startswith(alone[one].strip()), one


def test_nothing_that_another_voice_has_read_is_taken_from_the_cache(voices: httpx.Client) -> None:
    line = "This was never said before. " * 30
    used = [ask(voices, model, line)["usage"] for model in (*VOICES, *VOICES)]
    cached = [usage["prompt_tokens_details"]["cached_tokens"] for usage in used]
    assert len({usage["prompt_tokens"] for usage in used}) == 1
    for first, again in zip(cached[:3], cached[3:], strict=True):
        assert first + 100 < again


def test_more_adapters_than_fit_into_memory_take_turns(voices: httpx.Client) -> None:
    before = {model: reply(voices, model, LINES[0], max_tokens=4) for model in VOICES}
    body = {"id": "eastern", "data": CARD}
    voices.post("/characters", json=body).raise_for_status()
    voices.put("/characters/eastern/adapter", json={"adapter": "east"}).raise_for_status()
    models = ["eastern", *VOICES] * 4
    with ThreadPoolExecutor(len(models)) as pool:
        said = list(pool.map(lambda model: (model, reply(voices, model, LINES[0], max_tokens=4)), models))
    assert len(set(said)) == 4
    assert before.items() <= set(said)


def test_grammars_are_kept_in_every_voice(voices: httpx.Client) -> None:
    for model in VOICES:
        more = {"structured_outputs": {"choice": ["yes", "no"]}}
        assert reply(voices, model, "Yes or no?", **more) in ("yes", "no")


def test_adapter_whose_folder_goes_while_others_push_it_out_of_memory_hurts_nobody(
    voices: httpx.Client, folder: Path
) -> None:
    shutil.move(folder / "south", folder / ".south")
    body = {"model": "southern", "messages": [{"role": "user", "content": LINES[0]}]}
    assert_error(voices.post(CHAT, json=body), 409, code="adapter_not_found")
    assert reply(voices, "northern", LINES[0])
    shutil.move(folder / ".south", folder / "south")
    assert reply(voices, "southern", LINES[0])
    assert voices.get("/health").status_code == 200
