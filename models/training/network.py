"""The network of a recipe: built from its shape, saved as bf16 safetensors beside its tokenizer."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from models.training.circuits import write_copying_heads
from models.training.recipe import Shape
from models.training.vocabulary import BEGIN, END_OF_TURN, PAD, special_id

_INITIAL_SPREAD = 0.03


def build_network(shape: Shape, tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """A Llama of that shape with random weights (torch's seed decides) and heads that copy, for that vocabulary."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        head_dim=shape.head_dim,
        max_position_embeddings=shape.max_position_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=True,
        initializer_range=_INITIAL_SPREAD,
        bos_token_id=special_id(tokenizer, BEGIN),
        eos_token_id=special_id(tokenizer, END_OF_TURN),
        pad_token_id=special_id(tokenizer, PAD),
    )
    network = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    # What layers add to the residual stream starts small beside what is in it, as in GPT-2.
    with torch.no_grad():
        for layer in network.model.layers:
            layer.self_attn.o_proj.weight /= math.sqrt(2 * shape.layers)
            layer.mlp.down_proj.weight /= math.sqrt(2 * shape.layers)
    write_copying_heads(network, shape.rope_theta)
    return network


def save_network(
    network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, stop_token_ids: Sequence[int]
) -> None:
    """Write a folder that transformers and vLLM load: config, generation config, bf16 weights, tokenizer.

    The network is left in bf16.
    """
    network = network.to(torch.bfloat16)  # type: ignore[arg-type]  # transformers annotates `to` for its own kwargs
    network.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=network.config.bos_token_id,
        eos_token_id=list(stop_token_ids),
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
        temperature=0.7,
        top_p=0.95,
    )
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    for weights in folder.glob("*.safetensors"):
        weights.chmod(0o644)
