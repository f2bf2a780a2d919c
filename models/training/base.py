"""What a recipe goes on from: network and tokenizer of a model, or new ones, checked before anything is done."""

import hashlib
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from models.renderer import Llama3Renderer, Renderer, load_renderer
from models.training.network import build_network
from models.training.recipe import Recipe, RecipeError, RowsPhase, Shape, Vocabulary
from models.training.rows import read_rows, row_texts
from models.training.vocabulary import SPECIAL_TOKENS, learn_vocabulary

# Tokens of well-known vocabularies that are never said, for tokenizers that name none for padding.
SILENT_TOKENS = ("<|finetune_right_pad_id|>", "<|reserved_special_token_250|>", "<|pad|>", "<pad>", "[PAD]", "<unk>")


@dataclass(frozen=True, slots=True)
class Base:
    """A tokenizer that can pad, and the renderer that training and serving share."""

    tokenizer: PreTrainedTokenizerBase
    renderer: Renderer
    shape: Shape | None = None

    def random_ids(self) -> range:
        """The ids of what may be said, for copying: all but the special ones. Raises RecipeError."""
        if self.tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS) != list(range(len(SPECIAL_TOKENS))):
            raise RecipeError("only a vocabulary of ours, whose special tokens stand first, is trained to copy")
        return range(len(SPECIAL_TOKENS), len(self.tokenizer))


def open_base(recipe: Recipe) -> Base:
    """The recipe's tokenizer and renderer. Raises RecipeError where they can't be used for it."""
    if recipe.base is None:
        assert recipe.shape is not None
        assert recipe.vocabulary is not None
        tokenizer = _learn_vocabulary(recipe, recipe.vocabulary, recipe.shape.max_position_embeddings)
        name = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()[:16]
        return Base(tokenizer, Llama3Renderer(tokenizer.backend_tokenizer, name), recipe.shape)
    try:
        tokenizer = load_tokenizer(recipe.base)
        renderer = load_renderer(recipe.base)
    except (OSError, ValueError) as error:
        raise RecipeError(f"the base {recipe.base} can't be used: {error}") from error
    _check_template(recipe, renderer)
    tokenizer.pad_token = _pad_token(recipe, tokenizer)
    if recipe.context:
        tokenizer.model_max_length = recipe.context
    return Base(tokenizer, renderer)


def load_tokenizer(base: str | Path) -> Any:  # transformers' tokenizers have no type in common that knows `backend`
    """The tokenizer of a model, as it was saved."""
    tokenizer = AutoTokenizer.from_pretrained(str(base))
    for loaded in ("is_local", "local_files_only"):  # how it was read, which it would write down as its own
        tokenizer.init_kwargs.pop(loaded, None)
    return tokenizer


def load_network(recipe: Recipe, base: Base) -> PreTrainedModel:
    """The network as training finds it: new, or the base's, in the precision that it is trained in.

    Weights that are trained are float32, beside which autocast computes in bf16; those under a LoRA stay as they are on
    a GPU.
    """
    if base.shape is not None:
        return build_network(base.shape, base.tokenizer)
    frozen = recipe.lora is not None and torch.cuda.is_available()
    try:
        network: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            str(recipe.base), dtype=torch.bfloat16 if frozen else torch.float32, attn_implementation=recipe.attention
        )
    except ImportError as error:
        raise RecipeError(
            f"`attention: {recipe.attention}` can't be used here; `sdpa` can, without `packing`: {error}"
        ) from error
    if recipe.context:
        network.config.max_position_embeddings = recipe.context
    _check_length(recipe, network)
    return network


def _learn_vocabulary(recipe: Recipe, vocabulary: Vocabulary, max_length: int) -> PreTrainedTokenizerFast:
    data = next((phase.data for phase in reversed(recipe.phases) if isinstance(phase, RowsPhase)), None)
    if data is None:
        raise RecipeError("a vocabulary is learned from rows, and this recipe has no phase of rows")
    try:
        return learn_vocabulary(row_texts(islice(read_rows(data), vocabulary.sample_rows)), vocabulary.size, max_length)
    except OSError as error:
        raise RecipeError(f"{error.filename}: {error.strerror}; write the recipe's data first") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"no vocabulary can be learned: a row among the first can't be read ({error})") from error


def _check_template(recipe: Recipe, renderer: Renderer) -> None:
    if recipe.template == "llama-3" and not isinstance(renderer, Llama3Renderer):
        raise RecipeError(
            f"{recipe.base} speaks another template than Llama 3's, which this recipe is for: "
            "models/recipes/any-lora.yaml trains a model on the template that it has (`template: own`)"
        )


def _pad_token(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> str:
    """What rows are filled up with: never a token that ends a reply, or replies wouldn't learn to end."""
    vocabulary = tokenizer.get_vocab()
    named = recipe.pad_token or tokenizer.pad_token
    if named is None or (recipe.pad_token is None and named == tokenizer.eos_token):
        named = next((token for token in SILENT_TOKENS if token in vocabulary), None)
    if named is None:
        raise RecipeError(
            f"the tokenizer of {recipe.base} has no token for padding: name one that is never said in the recipe, "
            "as `pad_token`"
        )
    if named not in vocabulary:
        raise RecipeError(f"`pad_token` {named} isn't in the vocabulary of {recipe.base}")
    return named


def _check_length(recipe: Recipe, network: PreTrainedModel) -> None:
    longest = getattr(network.config, "max_position_embeddings", None)
    if longest and recipe.max_length > longest:
        raise RecipeError(f"rows of {recipe.max_length} tokens are asked for, and {recipe.base} reads {longest}")
