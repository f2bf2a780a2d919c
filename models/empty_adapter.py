"""An adapter that changes nothing, for builds of vLLM that can't do without one.

Its CPU build takes no adapter for the last one that is loaded, wherever another request of the batch has one
(https://github.com/vllm-project/vllm/pull/48421). With this one for everybody else, nobody has none.
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from models.adapters import CONFIG, WEIGHTS
from models.engine import Adapter, Frame

MODULE = "o_proj"


def write_empty_adapter(folder: Path, frame: Frame) -> Adapter:
    """Write it for a model of `frame`: zeros beside one module, where vLLM puts them beside all others itself."""
    out, wide = frame.modules[MODULE]
    place = f"base_model.model.model.layers.0.self_attn.{MODULE}"
    tensors = {
        f"{place}.lora_A.weight": np.zeros((1, wide), np.float32),
        f"{place}.lora_B.weight": np.zeros((out, 1), np.float32),
    }
    save_file(tensors, folder / WEIGHTS)
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": [MODULE], "bias": "none"}
    (folder / CONFIG).write_text(json.dumps(config))
    return Adapter("none", folder)
