"""Adapters as PEFT saves them, of weights that nobody trained, for the tiny model."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from models.adapters import CONFIG, WEIGHTS, build_frame
from models.engine import Frame

TINY = Path(__file__).parent.parent / "models" / "tiny"
MODULES = ("q_proj", "down_proj")


def tiny_frame(most_rank: int = 16) -> Frame:
    return build_frame(json.loads((TINY / "config.json").read_bytes()), most_rank)


def write_adapter(
    folder: Path,
    *,
    rank: int = 4,
    seed: int = 0,
    layers: Iterable[int] = range(4),
    modules: Iterable[str] = MODULES,
    **config: object,
) -> Path:
    """Write one, whose configuration may say anything else."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {
        "peft_type": "LORA",
        "base_model_name_or_path": "models/tiny",
        "r": rank,
        "lora_alpha": 16,
        "target_modules": list(modules),
        "bias": "none",
    }
    (folder / CONFIG).write_text(json.dumps(told | config))
    random = np.random.default_rng(seed)
    shapes = tiny_frame().modules
    tensors = {}
    for layer in layers:
        for module in modules:
            out, wide = shapes[module]
            block = "mlp" if module in ("gate_proj", "up_proj", "down_proj") else "self_attn"
            place = f"base_model.model.model.layers.{layer}.{block}.{module}"
            for half, shape in (("A", (rank, wide)), ("B", (out, rank))):
                tensors[f"{place}.lora_{half}.weight"] = random.normal(0, 0.3, shape).astype(np.float32)
    save_file(tensors, folder / WEIGHTS)
    return folder
