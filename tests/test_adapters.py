"""What an adapter must be to be used at all: whatever isn't known to fit exactly is refused, with a reason."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models.adapters import CONFIG, WEIGHTS, Report, build_frame, read_adapter
from models.empty_adapter import write_empty_adapter
from tests.adapters import MODULES, tiny_frame, write_adapter

LLAMA_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 32,
}
QUERY = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"


def read(folder: Path, **frame: Any) -> Report:
    return read_adapter(folder, tiny_frame(**frame))


def change(folder: Path, make: Callable[[dict[str, Any]], None]) -> None:
    """Change the tensors of an adapter."""
    tensors = dict(load_file(folder / WEIGHTS))
    make(tensors)
    save_file(tensors, folder / WEIGHTS)


def test_adapter_that_fits_is_described(tmp_path: Path) -> None:
    report = read(write_adapter(tmp_path / "lyra"))
    size = (tmp_path / "lyra" / WEIGHTS).stat().st_size
    assert report == Report("lyra", "models/tiny", 4, tuple(sorted(MODULES)), size)
    assert report.usable


def test_every_module_of_a_layer_can_be_adapted(tmp_path: Path) -> None:
    assert read(write_adapter(tmp_path / "all", modules=tiny_frame().modules)).usable


def test_frame_of_8b_has_its_shapes() -> None:
    frame = build_frame(LLAMA_8B, 64)
    assert (frame.layers, frame.modules["k_proj"], frame.modules["down_proj"]) == (32, (1024, 4096), (4096, 14336))


@pytest.mark.parametrize("config", [{}, {"n_embd": 768}, LLAMA_8B | {"num_local_experts": 8}], ids=str)
def test_model_whose_adapters_cannot_be_checked_takes_none(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="can't be checked"):
        build_frame(config, 64)


def test_empty_adapter_fits(tmp_path: Path) -> None:
    adapter = write_empty_adapter(tmp_path, tiny_frame())
    assert read(adapter.path).problems == ()
    assert all(not tensor.any() for tensor in load_file(tmp_path / WEIGHTS).values())


def test_saved_by_peft_it_fits(tmp_path: Path) -> None:
    import peft
    import transformers

    config = transformers.AutoConfig.from_pretrained("models/tiny")
    model = transformers.AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # not typed there
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    adapted.save_pretrained(str(tmp_path / "made"))
    report = read(tmp_path / "made")
    assert report.problems == ()
    assert report.modules == tuple(sorted(tiny_frame().modules))


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"peft_type": "IA3"}, "it is no LoRA"),
        ({"r": 0}, "its rank r is 0"),
        ({"r": True}, "its rank r is True"),
        ({"r": "4"}, "its rank r is '4'"),
        ({"lora_alpha": None}, "its lora_alpha is None"),
        ({"lora_alpha": float("nan")}, "its lora_alpha is nan"),
        ({"target_modules": None}, "its target_modules are None"),
        ({"bias": "all"}, "bias isn't supported"),
        ({"use_dora": True}, "use_dora isn't supported"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save isn't supported"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern isn't supported"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa' changes the model itself"),
        ({"use_dora": [{}] * 1000}, "use_dora isn't supported"),
    ],
    ids=str,
)
def test_configuration_that_cannot_be_honoured_is_a_problem(tmp_path: Path, config: dict[str, Any], told: str) -> None:
    report = read(write_adapter(tmp_path / "odd", **config))
    assert not report.usable
    assert any(told in problem for problem in report.problems)


def test_rank_above_the_servers_is_a_problem(tmp_path: Path) -> None:
    assert read(write_adapter(tmp_path / "wide", rank=8), most_rank=8).usable
    assert read(write_adapter(tmp_path / "wide", rank=8), most_rank=4).problems == (
        "its rank is 8, and at most 4 is taken",
    )


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda tensors: tensors.clear(), "it has no weights"),
        (lambda tensors: tensors.pop(QUERY.format("B")), "layer 0 has half a q_proj"),
        (
            lambda tensors: tensors.update({QUERY.format("A"): np.zeros((4, 64), np.float32)}),
            "it was made for another model",
        ),
        (
            lambda tensors: tensors.update({QUERY.format("A"): np.zeros((2, 256), np.float32)}),
            "[2, 256], not [4, 256]",
        ),
        (
            lambda tensors: tensors.update({QUERY.format("A").replace(".0.", ".4."): tensors[QUERY.format("A")]}),
            "it adapts layer 4, and the model has 4 layers",
        ),
        (
            lambda tensors: tensors.update({QUERY.format("A").replace(".0.", ".00."): tensors[QUERY.format("A")]}),
            "is no part of the model that can be adapted",
        ),
        (
            lambda tensors: tensors.update({"base_model.model.lm_head.weight": np.zeros((8, 256), np.float32)}),
            "is no part of the model that can be adapted",
        ),
        (
            lambda tensors: tensors.update({QUERY.format("A").replace("self_attn", "mlp"): tensors[QUERY.format("A")]}),
            "is no part of the model that can be adapted",
        ),
        (lambda tensors: tensors.update({QUERY.format("A"): np.zeros((4, 256), np.int32)}), "16 or 32 bits"),
    ],
    ids=["nothing", "half", "narrow", "rank", "layer", "name", "head", "block", "integers"],
)
def test_weights_that_do_not_fit_are_a_problem(
    tmp_path: Path, make: Callable[[dict[str, Any]], None], told: str
) -> None:
    folder = write_adapter(tmp_path / "odd")
    change(folder, make)
    problems = read(folder).problems
    assert any(told in problem for problem in problems), problems


def test_adapter_of_a_larger_model_has_few_of_its_problems_told(tmp_path: Path) -> None:
    larger = build_frame({**LLAMA_8B, "num_hidden_layers": 4}, 16)
    assert len(read_adapter(write_adapter(tmp_path / "small"), larger).problems) == 5


@pytest.mark.parametrize(
    ("config", "told"),
    [(b"{", "it isn't JSON"), (b"[]", "it isn't a JSON object"), (b"[" * 100_000, "JSON"), (b" " * (2 << 20), "bytes")],
    ids=["cut", "list", "deep", "long"],
)
def test_configuration_that_is_none_is_a_problem(tmp_path: Path, config: bytes, told: str) -> None:
    folder = write_adapter(tmp_path / "odd")
    (folder / CONFIG).write_bytes(config)
    (problem,) = read(folder).problems
    assert problem.startswith(f"{CONFIG} can't be read")
    assert told in problem


def header(told: object, data: bytes = b"") -> bytes:
    raw = json.dumps(told).encode()
    return struct.pack("<Q", len(raw)) + raw + data


@pytest.mark.parametrize(
    "weights",
    [
        b"",
        b"\0" * 8,
        b"\xff" * 64,
        b"PK\x03\x04" * 100,
        struct.pack("<Q", 4) + b"nope",
        header([]),
        header({"a": 1}),
        header({"a": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 8]}}, b"\0" * 8),
        header({"a": {"dtype": "F32", "shape": [1, 1], "data_offsets": [4, 8]}}, b"\0" * 8),
        header({"a": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}, b"\0" * 4),
        header({"a": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}}, b"\0" * 5),
    ],
    ids=["empty", "zeros", "ones", "zip", "text", "list", "number", "long", "gap", "negative", "more"],
)
def test_weights_that_are_no_safetensors_are_a_problem(tmp_path: Path, weights: bytes) -> None:
    folder = write_adapter(tmp_path / "odd")
    (folder / WEIGHTS).write_bytes(weights)
    (problem,) = read(folder).problems
    assert problem.startswith(f"{WEIGHTS} can't be read")


def test_weights_that_are_cut_off_are_a_problem(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "odd")
    whole = (folder / WEIGHTS).read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 100, 8, 7):
        (folder / WEIGHTS).write_bytes(whole[:length])
        assert not read(folder).usable, length


@pytest.mark.parametrize("missing", [CONFIG, WEIGHTS])
def test_missing_file_is_a_problem(tmp_path: Path, missing: str) -> None:
    folder = write_adapter(tmp_path / "odd")
    (folder / missing).unlink()
    assert read(folder).problems == (f"{missing} is missing",)


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
def test_pipe_is_not_waited_for(tmp_path: Path, file: str) -> None:
    folder = write_adapter(tmp_path / "odd")
    (folder / file).unlink()
    os.mkfifo(folder / file)
    assert read(folder).problems == (f"{file} can't be read: it is no file",)
