"""Training reads what serving renders, learns from replies alone, and leaves a folder that loads."""

import importlib.util
import re
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

from models.prompt import Insertion, build_prompt
from models.renderer import Llama3Renderer, Renderer, Turn, load_renderer
from models.sections import build_head
from models.synthesis.personas import imagine_characters
from models.synthesis.profile_prompt import build_profile_turns
from models.synthesis.smalltalk import build_rows
from models.training.base import load_tokenizer
from models.training.copying import copying_examples
from models.training.network import build_network, save_network
from models.training.plan import BatchPlan, group_by_length, padded, strew
from models.training.recipe import Recipe, load_recipe
from models.training.rows import BadRow, build_example, build_scene, build_turns, parse_row, row_texts
from models.training.vocabulary import SPECIAL_TOKENS, learn_vocabulary

ROWS: list[dict[str, Any]] = list(build_rows(imagine_characters(40, 3), 3))


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    tokenizer = learn_vocabulary(row_texts(ROWS), 1000, 2048)
    return Llama3Renderer(tokenizer.backend_tokenizer, "")


@pytest.fixture(scope="module")
def tiny_renderer() -> Renderer:
    return load_renderer("models/tiny")


def test_the_mask_covers_replies_and_their_ends(renderer: Renderer) -> None:
    for row in ROWS:
        example = build_example(renderer, row)
        runs = np.split(example.token_ids, np.flatnonzero(np.diff(example.is_reply.astype(int))) + 1)
        spoken = [run for run, at in zip(runs, np.cumsum([0, *map(len, runs)]), strict=False) if example.is_reply[at]]
        replies = [turn.token_ids for turn in build_turns(renderer, row)[1] if turn.role == "assistant"]
        assert [list(run) for run in spoken] == [[*reply, renderer.stop_token_ids[0]] for reply in replies]


def test_training_renders_the_prompt_that_is_served(renderer: Renderer) -> None:
    for row in ROWS:
        ids = list(build_example(renderer, row).token_ids)
        if "profile" in row:
            prompt = renderer.render(build_profile_turns(renderer, row["persona"]))
        else:
            turns = [Turn(message["role"], renderer.encode(message["content"])) for message in row["messages"]]
            head = build_head(renderer.encode, build_scene(row))
            tail = [Insertion(Turn("system", renderer.encode(text)))] if (text := row.get("tail")) else []
            prompt = build_prompt(renderer, head, turns[:-1], inserted=tail, limit_tokens=100_000).token_ids
        assert ids[: len(prompt)] == prompt


def test_the_whole_run_names_commands_that_exist() -> None:
    script = Path("models/recipes/opencharacter-8b.sh").read_text()
    named = {*re.findall(r"python -m (models\.training\.\w+|models\.evaluation|app)\b", script)}
    named |= {f"models.synthesis.{command}" for command in re.findall(r"^synthesize (\w+)", script, re.MULTILINE)}
    assert len(named) == 6
    assert all(importlib.util.find_spec(module) for module in named)


def test_text_never_becomes_a_special_token(renderer: Renderer) -> None:
    text = "".join(SPECIAL_TOKENS) + " naïve — 火 🙂 \n\n x"
    ids = renderer.encode(text)
    assert min(ids) >= len(SPECIAL_TOKENS)
    assert renderer.decode(ids) == text


def test_batches_hold_every_row_once_and_little_padding() -> None:
    random = Random(1)
    lengths = [random.randint(10, 1500) for _ in range(5000)]
    batches = group_by_length(lengths, 4096, first=7, seed=1)
    assert sorted(row for batch in batches for row in batch) == list(range(7, 5007))
    sizes = [len(batch) * padded(max(lengths[row - 7] for row in batch)) for batch in batches]
    assert max(sizes) <= 4096
    assert sum(lengths) / sum(sizes) > 0.95
    assert batches == group_by_length(lengths, 4096, first=7, seed=1)
    assert batches != group_by_length(lengths, 4096, first=7, seed=2)


def test_a_plan_names_its_parts_and_divides_among_processes() -> None:
    plan = BatchPlan([("1 copying", [[0], [1]]), ("2 rows", [[2], [3, 4], [5]])], processes=2)
    assert list(plan) == [[0], [1], [2], [3, 4]]
    assert [plan.part_at(batch) for batch in (1, 2, 3, 5)] == ["1 copying", "1 copying", "2 rows", "2 rows"]


def test_strewn_batches_have_their_share() -> None:
    mixed = strew([[index] for index in range(20)], [[-1], [-2]], 0.25)
    assert [batch for batch in mixed if batch[0] >= 0] == [[index] for index in range(20)]
    assert mixed.count([-1]) == 3
    assert mixed.count([-2]) == 2


def test_copying_rows_repeat_at_a_distance_of_each_ones_own() -> None:
    distances = set()
    for example in copying_examples(1, 2048, 64, range(8, 5000), 1):
        distance = int((~example.is_reply).sum())
        distances.add(distance)
        assert np.array_equal(example.token_ids[distance:], example.token_ids[:-distance])
        assert example.is_reply[distance:].all()
        assert int(example.token_ids.min()) >= 8
    assert len(distances) > 10
    assert min(distances) >= 4
    assert max(distances) <= 32


def test_a_new_network_copies_what_it_has_read() -> None:
    tokenizer = learn_vocabulary(row_texts(ROWS), 1000, 2048)
    recipe = load_recipe(Path("models/recipes/tiny.yaml"))
    torch.manual_seed(0)
    assert recipe.shape is not None
    network = build_network(recipe.shape, tokenizer)
    examples = list(copying_examples(1, 4096, 512, range(8, len(tokenizer)), 1))
    ids = torch.tensor(np.stack([example.token_ids for example in examples]))
    learned = torch.tensor(np.stack([example.is_reply for example in examples]))[:, 1:]
    with torch.no_grad():
        said = network(ids).logits[:, :-1].argmax(-1)
    assert (said == ids[:, 1:])[learned].float().mean() > 0.25  # one in a thousand would be chance


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"messages": [', "broken JSON"),
        (b"[1]", "not an object"),
        (b"{}", "no messages"),
        (b'{"messages": []}', "no messages"),
        (b'{"messages": [{"role": "assistant"}]}', "bad messages"),
        (b'{"messages": [{"role": "tool", "content": "x"}]}', "bad messages"),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "no reply"),
        (b'{"messages": [{"role": "assistant", "content": "x"}], "tail": "x"}', "a tail without a user"),
        (b'{"profile": {"name": "Odo"}}', "no persona"),
        (b'{"question": "x", "character_answer": "y"}', "released rows"),
    ],
)
def test_a_row_that_teaches_nothing_says_why(line: bytes, reason: str) -> None:
    with pytest.raises(BadRow, match=reason):
        parse_row(line)


def test_a_recipe_refuses_keys_that_nobody_reads() -> None:
    recipe = yaml.safe_load(Path("models/recipes/tiny.yaml").read_text())
    assert Recipe.model_validate(recipe).phases[0].kind == "copying"
    recipe["phases"][0]["lerning_rate"] = 1
    with pytest.raises(ValidationError, match="lerning_rate"):
        Recipe.model_validate(recipe)


def test_a_recipe_begins_from_nothing_or_from_a_base() -> None:
    recipe = yaml.safe_load(Path("models/recipes/tiny.yaml").read_text())
    for wrong in ({"base": "models/tiny"}, {"shape": None}, {"shape": None, "vocabulary": None}):
        with pytest.raises(ValidationError, match="either a `base`"):
            Recipe.model_validate({**recipe, **wrong})
    assert load_recipe(Path("models/recipes/tiny-longer.yaml")).base == "build/tiny/first"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": "sdpa"}, "flash_attention_2"),
        ({"phases": [{"kind": "rows", "data": ["x"], "batch_tokens": 1024}]}, "at least `max_length`"),
        ({"phases": [{"kind": "copying", "steps": 1}]}, "one phase of rows"),
    ],
)
def test_rows_are_packed_only_where_attention_keeps_them_apart(changes: dict[str, Any], message: str) -> None:
    recipe = yaml.safe_load(Path("models/recipes/llama-3-8b-full.yaml").read_text())
    assert Recipe.model_validate(recipe).packing
    with pytest.raises(ValidationError, match=message):
        Recipe.model_validate({**recipe, **changes})


@pytest.mark.parametrize("path", sorted(Path("models/recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_can_be_read(path: Path) -> None:
    if path.stem != "eight-gpus":  # accelerate's
        assert load_recipe(path).phases


def test_a_network_that_is_loaded_and_saved_is_the_same(tmp_path: Path, tiny_renderer: Renderer) -> None:
    shipped = Path("models/tiny")
    network = AutoModelForCausalLM.from_pretrained(shipped, dtype=torch.float32)
    save_network(network, load_tokenizer(shipped), tmp_path, tiny_renderer.stop_token_ids)
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (shipped / name).read_bytes(), name
    assert (tmp_path / "model.safetensors").read_bytes() == (shipped / "model.safetensors").read_bytes()


def test_the_recipe_of_the_shipped_model_is_its_shape() -> None:
    shape = load_recipe(Path("models/recipes/tiny.yaml")).shape
    assert shape is not None
    config = AutoModelForCausalLM.from_pretrained("models/tiny").config
    assert (config.hidden_size, config.num_hidden_layers) == (shape.hidden_size, shape.layers)
    longer = load_recipe(Path("models/recipes/tiny-served.yaml")).context
    assert config.max_position_embeddings in (shape.max_position_embeddings, longer)


def test_prompts_of_a_dialogue_grow_at_the_end(renderer: Renderer) -> None:
    row = next(row for row in ROWS if len(row.get("messages", ())) > 8 and "tail" not in row)
    head, said = build_turns(renderer, row)
    turns = [*head, *said]
    prompts = [renderer.render(turns[: index + 1]) for index, turn in enumerate(turns) if turn.role == "user"]
    assert all(later[: len(earlier)] == earlier for earlier, later in pairwise(prompts))


def test_characters_are_numbered() -> None:
    few, more = list(imagine_characters(3, 9)), list(imagine_characters(5, 9))
    assert few == more[:3]
    assert Random("9/0/False").random() != Random("9/1/False").random()
