"""Heads that copy, written into a new network instead of waited for.

A card is read by an induction head: it looks for where the current token stood before, and says what came after it
(Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Olsson et al. 2022, "In-context Learning and
Induction Heads"). Training finds it late: a small network that sees names only once can't copy any after five million
tokens. It takes two layers, and both can be written down:

- a head of layer 0 attends to the token before (by rotary phases alone) and writes it into dimensions that embeddings
  leave free;
- heads of layer 1 look for positions where those dimensions hold the current token, and write the token that stands
  there into the directions of its embedding, which are those of its logit too, since embeddings are tied.

All of it is ordinary weights: training goes on from there and changes what it likes.
"""

import math

import torch
from torch import Tensor
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaAttention

# Standard deviation of an embedding's entries, and the entry, that many times as large, that is the same for each.
_SPREAD = 0.06
_CONSTANT = 4.0
# By how many nats the position that a head looks for stands out.
_SHARPNESS = 20.0
_COPYING_HEADS = 2
_COPIED = 2.0
# Rotary frequencies, in radians a token: of those above the first one token makes a difference, those under the second
# hardly turn within a card.
_FAST, _SLOW = 0.2, 2e-3


@torch.no_grad()
def write_copying_heads(network: LlamaForCausalLM, theta: float) -> None:
    """Embeddings and the first two layers' attention of `network`, so that it copies what stood in the context before.

    Needs tied embeddings, at least two layers, a width of more than two heads, as many of them for keys as for queries,
    and rotary frequencies on both sides of what is fast and slow (`theta` 500,000 with heads of 64).
    """
    first, second = (layer.self_attn for layer in network.model.layers[:2])
    width, size = network.config.hidden_size, first.head_dim
    embeddings = network.model.embed_tokens.weight
    free = slice(width - size, width)
    embeddings.normal_(0.0, _SPREAD)
    embeddings[:, 0] = _CONSTANT * _SPREAD
    embeddings[:, free] = 0.0
    # What the first norm makes of the constant entry.
    constant = _CONSTANT / math.sqrt(1 + (_CONSTANT**2 - size) / width)

    frequencies = theta ** (-torch.arange(size // 2) / (size // 2))
    fast = (frequencies > _FAST).float()
    gain = math.sqrt(_SHARPNESS * math.sqrt(size) / float(fast @ (1 - frequencies.cos()))) / constant
    head = slice(0, size)
    _clear(first, head)
    first.q_proj.weight[: size // 2, 0] = gain * fast
    first.k_proj.weight[: size // 2, 0] = gain * fast * frequencies.cos()
    first.k_proj.weight[size // 2 : size, 0] = gain * fast * frequencies.sin()
    seen = _projection(size, width - size)
    first.v_proj.weight[head, : width - size] = seen
    first.o_proj.weight[free, head] = _SPREAD * torch.eye(size)

    slow = (frequencies < _SLOW).float().repeat(2)
    match = slow * math.sqrt(_SHARPNESS * math.sqrt(size) / float(slow.sum()))
    for number in range(_COPYING_HEADS):
        head = slice(number * size, (number + 1) * size)
        _clear(second, head)
        second.q_proj.weight[head, : width - size] = match[:, None] * seen
        second.k_proj.weight[head, free] = match.diag()
        said = _projection(size, width - size)
        second.v_proj.weight[head, : width - size] = said
        second.o_proj.weight[: width - size, head] = _COPIED * _SPREAD * said.T


def _clear(attention: LlamaAttention, head: slice) -> None:
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        projection.weight[head] = 0.0
    attention.o_proj.weight[:, head] = 0.0


def _projection(rows: int, columns: int) -> Tensor:
    """Orthonormal rows in random directions, blind to the constant entry."""
    basis, _ = torch.linalg.qr(torch.randn(columns - 1, rows))
    return torch.cat([torch.zeros(rows, 1), basis.T], dim=1)
