"""LoRA adapters as PEFT saves them: read and checked before any engine sees them.

vLLM copies weights of a smaller shape silently into its own, skips saved embeddings, and dies where an adapter turns
out unreadable in mid-batch. So whatever isn't known to fit exactly is refused here, with a sentence that says why.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.engine import Frame
from models.tensorfile import FileFault, read_header, read_object

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FILES = (CONFIG, WEIGHTS)
MOST_CONFIG_BYTES, MOST_BYTES = 1 << 20, 8 << 30
# Problems that are told of one adapter.
MOST_TOLD = 5

_TENSOR = re.compile(r"base_model\.model\.model\.layers\.(0|[1-9]\d{0,3})\.(self_attn|mlp)\.(\w+)\.lora_([AB])\.weight")
# What PEFT can do and vLLM can't, in some release that is served here, and what counts as not done.
_UNSUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "bias": (None, "none"),
    "modules_to_save": (None, []),
    "use_dora": (None, False),
    "lora_bias": (None, False),
    "use_qalora": (None, False),
    "use_bdlora": (None, False),
    "layer_replication": (None, []),
    "alora_invocation_tokens": (None, []),
    "trainable_token_indices": (None, [], {}),
    "target_parameters": (None, []),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
}
# Ways to begin a training that leave the model itself as it was; the others change it.
_PLAIN_INITS = (None, True, False, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True, slots=True)
class Report:
    """What an adapter says of itself, and why it can't be used; without `problems` it fits the model exactly.

    `base` is the model that it was trained on, as its training called it.
    """

    name: str
    base: str = ""
    rank: int = 0
    modules: tuple[str, ...] = ()
    size_bytes: int = 0
    problems: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        return not self.problems


def build_frame(config: Mapping[str, Any], most_rank: int) -> Frame:
    """What adapters of a model must fit, by its configuration as Hugging Face writes it.

    Raises ValueError for a model that isn't built of attention and one feed-forward block, as Llama is.
    """
    config = config.get("text_config") or config
    if config.get("num_local_experts") or config.get("num_experts") or config.get("n_routed_experts"):
        raise ValueError("adapters of models with experts can't be checked")
    try:
        hidden, inner, heads = (
            int(config[name]) for name in ("hidden_size", "intermediate_size", "num_attention_heads")
        )
        layers = int(config["num_hidden_layers"])
        head = int(config.get("head_dim") or hidden // heads)
        shared = int(config.get("num_key_value_heads") or heads)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("adapters of a model that is built otherwise than Llama can't be checked") from error
    modules = {
        "q_proj": (heads * head, hidden),
        "k_proj": (shared * head, hidden),
        "v_proj": (shared * head, hidden),
        "o_proj": (hidden, heads * head),
        "gate_proj": (inner, hidden),
        "up_proj": (inner, hidden),
        "down_proj": (hidden, inner),
    }
    return Frame(modules, layers, most_rank)


def read_adapter(folder: Path, frame: Frame, name: str = "") -> Report:
    """What lies in `folder`. Reads the configuration and the header of the weights; raises nothing."""
    name = name or folder.name
    try:
        config = read_object(folder / CONFIG, MOST_CONFIG_BYTES)
    except (FileFault, OSError) as error:
        return Report(name, problems=(_told(error, CONFIG),))
    rank, base = config.get("r"), config.get("base_model_name_or_path")
    report = Report(name, base[:200] if isinstance(base, str) else "", int(rank or 0) if _is_count(rank) else 0)
    problems = list(_config_problems(config, frame))
    try:
        tensors, size = read_header(folder / WEIGHTS, MOST_BYTES)
    except (FileFault, OSError) as error:
        told = (*problems, _told(error, WEIGHTS))
        return Report(name, report.base, report.rank, problems=told[:MOST_TOLD])
    modules, faults = _check_tensors(tensors, report.rank, frame)
    return Report(name, report.base, report.rank, modules, size, tuple([*problems, *faults][:MOST_TOLD]))


def _told(error: Exception, file: str) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{file} is missing"
    return f"{file} can't be read: {(error.strerror or error) if isinstance(error, OSError) else error}"


def _config_problems(config: Mapping[str, Any], frame: Frame) -> Iterator[str]:
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if config.get("peft_type") != "LORA":
        yield f"it is no LoRA: peft_type is {_short(config.get('peft_type'))}"
    if not _is_count(rank):
        yield f"its rank r is {_short(rank)}"
    elif int(rank or 0) > frame.most_rank:
        yield f"its rank is {_short(rank)}, and at most {frame.most_rank} is taken"
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 < alpha < 1e6:
        yield f"its lora_alpha is {_short(alpha)}"
    targets = config.get("target_modules")
    if not targets or not isinstance(targets, str | list):
        yield f"its target_modules are {_short(targets)}"
    for key, nothing in _UNSUPPORTED.items():
        if config.get(key) not in nothing:
            yield f"{key} isn't supported"
    if config.get("init_lora_weights") not in _PLAIN_INITS:
        yield f"init_lora_weights {_short(config['init_lora_weights'])} changes the model itself, and isn't supported"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _short(value: Any) -> str:
    told = repr(value)
    return told if len(told) <= 60 else told[:60] + "…"


def _check_tensors(tensors: Mapping[str, Any], rank: int, frame: Frame) -> tuple[tuple[str, ...], list[str]]:
    """The modules that are adapted, and what of the tensors doesn't fit."""
    if not tensors:
        return (), ["it has no weights"]
    faults: list[str] = []
    halves: dict[tuple[str, str], set[str]] = {}
    for name, tensor in tensors.items():
        found = _TENSOR.fullmatch(name)
        module = found[3] if found else ""
        if found is None or module not in frame.modules or found[2] != _block(module):
            faults.append(f"{_short(name)} is no part of the model that can be adapted")
            continue
        halves.setdefault((found[1], module), set()).add(found[4])
        out, wide = frame.modules[module]
        fits = [rank, wide] if found[4] == "A" else [out, rank]
        if int(found[1]) >= frame.layers:
            faults.append(f"it adapts layer {found[1]}, and the model has {frame.layers} layers")
        elif tensor["shape"] != fits:
            faults.append(f"it was made for another model: {_short(name)} is {tensor['shape']}, not {fits}")
    faults += [f"layer {layer} has half a {module}" for (layer, module), both in halves.items() if len(both) < 2]
    return tuple(sorted({module for _, module in halves})), faults


def _block(module: str) -> str:
    return "mlp" if module in ("gate_proj", "up_proj", "down_proj") else "self_attn"
