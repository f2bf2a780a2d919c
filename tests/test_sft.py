"""A recipe is run to a folder that loads, from wherever it was stopped; what can't be trained is refused at once."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from models.renderer import Llama3Renderer, Turn, load_renderer
from models.synthesis.personas import imagine_characters
from models.synthesis.smalltalk import build_rows
from models.training import export, sft
from models.training.checkpoints import last_checkpoint
from models.training.journal import Point, read_points
from models.training.recipe import Recipe
from models.training.trainer import decay_arguments
from tests.conftest import ROOT

ROWS: list[dict[str, Any]] = list(build_rows(imagine_characters(40, 3), 3))
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "layers": 2,
    "heads": 4,
    "head_dim": 16,
    "max_position_embeddings": 2048,
}
TINY = Path("models/tiny")
READS: int = json.loads((TINY / "config.json").read_bytes())["max_position_embeddings"]
# A training that dies in its sixth step, two after a checkpoint.
KILLED = """
import os, signal, sys, torch
from models.training import sft
from models.training.journal import Journal

class Dying(Journal):
    def on_step_end(self, args, state, control, **more):
        if state.global_step == 6:
            os.kill(os.getpid(), signal.SIGKILL)

sft.Journal = Dying
torch.set_num_threads(1)
sft.main(sys.argv[1:])
"""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads for so little work wait for each other more than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(map(orjson.dumps, ROWS)))
    return path


def write_recipe(folder: Path, data: Path, **changes: Any) -> Path:
    """A recipe for a network from nothing; None takes a key away."""
    recipe = {
        "output": str(folder / "model"),
        "shape": SHAPE,
        "schedule": {"learning_rate": 3e-3},
        "vocabulary": {"size": 600, "sample_rows": 40},
        "phases": [
            {"kind": "copying", "steps": 4, "length": 64, "batch_tokens": 1024},
            {"kind": "rows", "data": [str(data)], "max_tokens": 12_000, "batch_tokens": 1024},
        ],
        **changes,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in recipe.items() if value is not None}))
    return path


def tiny_changes(data: Path, **changes: Any) -> dict[str, Any]:
    """What makes it a recipe that goes on from the embedded model."""
    phase = {"kind": "rows", "data": [str(data)], "max_tokens": 6_000, "batch_tokens": 1024}
    return {"base": str(TINY), "shape": None, "vocabulary": None, "phases": [phase], **changes}


def losses(folder: Path) -> list[tuple[str, int, float]]:
    return [(point.phase, point.step, round(point.loss, 5)) for point in read_points(folder / "loss.jsonl")]


def test_a_short_training_makes_a_model_that_loads(tmp_path: Path, data: Path) -> None:
    assert sft.main([str(write_recipe(tmp_path, data))]) == 0
    folder = tmp_path / "model"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    assert model.config.architectures == ["LlamaForCausalLM"]
    points = read_points(folder / "loss.jsonl")
    assert [point.step for point in points] == list(range(1, len(points) + 1))
    assert [point.phase for point in points[3:5]] == ["1 copying", "2 rows"]
    assert points[-1].tokens > 12_000
    assert (folder / "loss.png").read_bytes()[:4] == b"\x89PNG"
    assert not list(folder.glob("*.part"))
    renderer = load_renderer(str(folder))
    assert isinstance(renderer, Llama3Renderer)
    assert model.generation_config.eos_token_id == list(renderer.stop_token_ids)
    turns = [Turn("system", renderer.encode("You are Odo.")), Turn("user", renderer.encode("Who are you?"))]
    ids = renderer.render(turns)
    assert ids == templated(folder, [("system", "You are Odo."), ("user", "Who are you?")])
    assert model(torch.tensor([ids])).logits.isfinite().all()


def templated(folder: Path, messages: list[tuple[str, str]]) -> list[int]:
    """What the folder's own chat template makes of `messages`."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(
        [{"role": role, "content": content} for role, content in messages], tokenize=False, add_generation_prompt=True
    )
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def test_a_run_that_was_killed_goes_on_as_if_nothing_had_been(tmp_path: Path, data: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = write_recipe(tmp_path / "whole", data, save_steps=4)
    assert sft.main([str(whole)]) == 0
    expected = losses(tmp_path / "whole" / "model")

    recipe = write_recipe(tmp_path / "killed", data, save_steps=4)
    run = tmp_path / "killed" / "model.run"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(recipe)], cwd=ROOT, stderr=subprocess.DEVNULL)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "model").exists()
    assert losses(run) != expected
    # As a kill in the middle of a checkpoint leaves it.
    shutil.copytree(last_checkpoint(run) or run, run / "checkpoint-9999")
    (run / "checkpoint-9999" / "trainer_state.json").write_text('{"global_st')
    assert sft.main([str(recipe)]) == 0
    assert losses(tmp_path / "killed" / "model") == expected
    one, other = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())


def test_a_finished_run_is_only_written_again(tmp_path: Path, data: Path) -> None:
    recipe = write_recipe(tmp_path, data)
    assert sft.main([str(recipe)]) == 0
    before = losses(tmp_path / "model")
    shutil.rmtree(tmp_path / "model")
    assert sft.main([str(recipe)]) == 0
    assert losses(tmp_path / "model") == before
    shutil.rmtree(tmp_path / "model")
    assert export.main([str(recipe)]) == 0
    assert (tmp_path / "model" / "model.safetensors").exists()


def test_a_run_of_another_recipe_is_left_alone(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sft.main([str(write_recipe(tmp_path, data))]) == 0
    changed = write_recipe(tmp_path, data, seed=5)
    assert sft.main([str(changed)]) == 2
    assert "seed changed" in capsys.readouterr().err
    assert sft.main([str(changed), "--restart"]) == 0


def test_lora_is_merged_into_the_base(tmp_path: Path, data: Path) -> None:
    changes = tiny_changes(data, lora={"rank": 8}, schedule={"learning_rate": 5e-3})
    assert sft.main([str(write_recipe(tmp_path, data, **changes))]) == 0
    trained, base = (load_file(folder / "model.safetensors") for folder in (tmp_path / "model", TINY))
    assert trained.keys() == base.keys()
    differ = {name for name, weight in base.items() if not torch.equal(weight, trained[name])}
    assert differ == {name for name in base if "_proj" in name}
    checkpoint = last_checkpoint(tmp_path / "model.run")
    assert checkpoint is not None
    halves = load_file(checkpoint / "adapter_model.safetensors")
    name = "model.layers.0.self_attn.q_proj"
    added = (
        halves[f"base_model.model.{name}.lora_B.weight"] @ halves[f"base_model.model.{name}.lora_A.weight"] * (32 / 8)
    )
    expected = base[f"{name}.weight"].float() + added
    assert torch.allclose(trained[f"{name}.weight"].float(), expected, atol=1e-2)


def test_the_papers_schedule_is_linear_to_its_end() -> None:
    recipe = Recipe.model_validate(yaml.safe_load(Path("models/recipes/llama-3-8b-full.yaml").read_text()))
    told = decay_arguments(recipe.schedule)
    assert told["lr_scheduler_type"] == "polynomial"
    assert told["lr_scheduler_kwargs"] == {"lr_end": 1e-6, "power": 1.0}
    assert recipe.schedule.betas == (0.9, 0.95)


def test_the_rate_falls_in_a_line_to_the_end(tmp_path: Path, data: Path) -> None:
    schedule = {"learning_rate": 1e-3, "final_learning_rate": 1e-4, "decay": "linear"}
    assert sft.main([str(write_recipe(tmp_path, data, **tiny_changes(data, schedule=schedule)))]) == 0
    rates = [point.learning_rate for point in read_points(tmp_path / "model" / "loss.jsonl")]
    assert rates[0] == pytest.approx(1e-3)
    steps = [one - two for one, two in pairwise(rates)]
    assert steps == pytest.approx([9e-4 / len(rates)] * len(steps))


def test_rows_that_cant_be_learned_from_are_counted(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = {"messages": [{"role": "user", "content": "word " * 3000}, {"role": "assistant", "content": "Yes."}]}
    bad = [b'{"messages": [', b"{}", orjson.dumps(long), b'{"card": {"data": {}}, ' + orjson.dumps(long)[1:]]
    lines = data.read_bytes().splitlines()
    data.write_bytes(b"\n".join([*lines[:3], *bad, b"", *lines[3:]]))
    assert sft.main([str(write_recipe(tmp_path, data, **tiny_changes(data, phases=[rows_phase(data)])))]) == 0
    told = capsys.readouterr().err
    for reason in ("1 rows, broken JSON", "1 rows, no messages", "1 rows, too long", "1 rows, bad fields"):
        assert reason in told


def rows_phase(data: Path) -> dict[str, Any]:
    return {"kind": "rows", "data": [str(data)], "max_tokens": 6_000, "batch_tokens": 1024}


@pytest.mark.parametrize("content", [b"", b"\n\n", b"{}\n", b"broken\n"])
def test_nothing_to_learn_from_stops_it(
    tmp_path: Path, data: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    data.write_bytes(content)
    assert sft.main([str(write_recipe(tmp_path, data, **tiny_changes(data)))]) == 2
    assert "has no rows to learn from" in capsys.readouterr().err


def test_data_that_isnt_there_stops_it(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data.unlink()
    for changes in ({}, tiny_changes(data)):
        assert sft.main([str(write_recipe(tmp_path, data, **changes))]) == 2
        assert "rows.jsonl" in capsys.readouterr().err


def test_a_full_disk_is_told_before_training(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.training.space.shutil.disk_usage", lambda _: SimpleNamespace(free=10**8))
    assert sft.main([str(write_recipe(tmp_path, data, **tiny_changes(data)))]) == 2
    assert "has 0.1 GB left" in capsys.readouterr().err
    assert not list((tmp_path / "model.run").glob("checkpoint-*"))


def test_rows_longer_than_the_base_reads_are_refused(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phase = {**rows_phase(data), "max_length": READS + 1}
    assert sft.main([str(write_recipe(tmp_path, data, **tiny_changes(data, phases=[phase])))]) == 2
    assert f"reads {READS}" in capsys.readouterr().err


def test_a_base_learns_to_read_more_from_rows_of_that_length(tmp_path: Path, data: Path) -> None:
    phase = {**rows_phase(data), "max_length": 2 * READS}
    recipe = write_recipe(tmp_path, data, **tiny_changes(data, phases=[phase], context=2 * READS))
    assert sft.main([str(recipe)]) == 0
    assert json.loads((tmp_path / "model" / "config.json").read_bytes())["max_position_embeddings"] == 2 * READS
    assert AutoTokenizer.from_pretrained(tmp_path / "model").model_max_length == 2 * READS


def test_a_context_that_no_row_teaches_is_refused(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sft.main([str(write_recipe(tmp_path, data, **tiny_changes(data, context=8192)))]) == 2
    assert "rows of up to that length" in capsys.readouterr().err


def test_attention_that_isnt_there_is_named(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = tiny_changes(data, attention="flash_attention_2", packing=True)
    changes["phases"][0]["max_length"] = 1024
    assert sft.main([str(write_recipe(tmp_path, data, **changes))]) == 2
    # Wherever the console breaks its lines.
    assert "`sdpa` can, without `packing`" in " ".join(capsys.readouterr().err.split())


def test_an_unknown_key_is_named(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sft.main([str(write_recipe(tmp_path, data, learning_rat=1))]) == 2
    assert "learning_rat" in capsys.readouterr().err


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The embedded model in a folder that may be changed."""
    return shutil.copytree(TINY, tmp_path / "base")


def test_another_template_is_refused_with_the_recipe_that_fits(
    tmp_path: Path, data: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(copy)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    )
    tokenizer.save_pretrained(copy, save_jinja_files=False)
    changes = tiny_changes(data, base=str(copy))
    assert sft.main([str(write_recipe(tmp_path, data, **changes))]) == 2
    assert "any-lora.yaml" in capsys.readouterr().err
    assert sft.main([str(write_recipe(tmp_path, data, **changes, template="own"))]) == 0


def test_a_tokenizer_without_padding_gets_a_token_that_is_never_said(
    tmp_path: Path, data: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((copy / "tokenizer_config.json").read_bytes())
    del config["pad_token"]
    (copy / "tokenizer_config.json").write_text(json.dumps(config))
    assert sft.main([str(write_recipe(tmp_path, data, **tiny_changes(data, base=str(copy))))]) == 0
    assert AutoTokenizer.from_pretrained(tmp_path / "model").pad_token == "<|finetune_right_pad_id|>"
    changes = tiny_changes(data, base=str(copy), pad_token="<|nothing|>")
    assert sft.main([str(write_recipe(tmp_path, data, **changes)), "--restart"]) == 2
    assert "isn't in the vocabulary" in capsys.readouterr().err


def test_a_base_without_any_token_to_pad_with_is_refused(
    tmp_path: Path, data: Path, copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((copy / "tokenizer_config.json").read_bytes())
    del config["pad_token"]
    (copy / "tokenizer_config.json").write_text(json.dumps(config))
    monkeypatch.setattr("models.training.base.SILENT_TOKENS", ())
    assert sft.main([str(write_recipe(tmp_path, data, **tiny_changes(data, base=str(copy))))]) == 2
    assert "`pad_token`" in capsys.readouterr().err


def test_a_journal_that_was_cut_off_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "loss.jsonl"
    path.write_bytes(b'{"phase": "1 rows", "step": 1, "loss": 2.0}\n{"phase": "1 rows", "st')
    assert read_points(path) == [Point("1 rows", 1, 2.0)]


def test_what_the_data_may_not_be_used_for_is_told(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sft, "train", lambda *_: None)
    manifest = {"made_from": {}, "runs": [{"origins": ["PersonaHub", "build/dialogues.jsonl"]}]}
    data.with_suffix(".manifest.json").write_text(json.dumps(manifest))
    recipe = str(write_recipe(tmp_path, data))
    sft.main([recipe])
    assert "Persona Hub (CC BY-NC-SA 4.0, for research): not for commercial use" in capsys.readouterr().err
    sft.main([recipe, "--purpose", "research"])
    assert "Persona Hub" not in capsys.readouterr().err
