"""What a recipe file may say. One YAML file describes one model; a key that nobody reads is refused."""

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

Share = Annotated[float, Field(ge=0, lt=1)]


class RecipeError(ValueError):
    """A recipe can't be carried out; the message says why, and what would help."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shape(_Section):
    """The size of a Llama made from nothing. Embeddings are tied."""

    hidden_size: PositiveInt
    intermediate_size: PositiveInt
    layers: PositiveInt
    heads: PositiveInt
    head_dim: PositiveInt
    max_position_embeddings: PositiveInt
    rope_theta: PositiveFloat = 500000.0


class Vocabulary(_Section):
    """A byte-level BPE vocabulary, learned from the first `sample_rows` rows of the data."""

    size: Annotated[int, Field(ge=300)]
    sample_rows: PositiveInt = 4000


class Lora(_Section):
    """Low-rank matrices beside every linear layer but the head; `alpha / rank` is what they are multiplied with."""

    rank: Annotated[int, Field(ge=1, le=512)] = 64
    alpha: PositiveInt = 32
    dropout: Share = 0.0
    merge: bool = True
    """Write a model that holds them. Else an adapter folder is written, to be served beside the base."""


class Schedule(_Section):
    """One AdamW for all phases: linear warm-up, then a decay to `final_learning_rate`, a twentieth if none is named."""

    learning_rate: PositiveFloat
    final_learning_rate: PositiveFloat | None = None
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: NonNegativeInt = 0
    warmup_share: Share = 0.0
    """Of all steps, where `warmup_steps` is 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    betas: tuple[Share, Share] = (0.9, 0.95)
    accumulate: PositiveInt = 1
    """Batches a step, on each device."""


class CopyingPhase(_Section):
    """Random tokens said again and again, loss from the second time on: hones the heads that copy."""

    kind: Literal["copying"]
    steps: PositiveInt
    length: Annotated[int, Field(ge=8)] = 256
    batch_tokens: PositiveInt = 8192


class RowsPhase(_Section):
    """Rows of the data, batched by length. Loss on the replies, or on everything."""

    kind: Literal["rows"]
    data: Annotated[list[Path], Field(min_length=1)]
    loss: Literal["replies", "everything"] = "replies"
    epochs: PositiveInt = 1
    max_tokens: PositiveInt | None = None
    """Stop after that many tokens of data; None reads all of it."""
    max_length: PositiveInt = 2048
    """Longer rows are left out, and counted: cut, they would lose their answer."""
    batch_tokens: PositiveInt = 8192
    copying: Share = 0.0
    """Share of steps that go on copying random tokens, so that what a copying phase formed isn't lost."""


Phase = Annotated[CopyingPhase | RowsPhase, Field(discriminator="kind")]


class Recipe(_Section):
    """A model from nothing, by its shape and vocabulary, or from a `base`; and the phases that train it, in order."""

    output: Path
    run: Path | None = None
    """Where checkpoints, rendered rows and the log are kept; None: beside the output, named after it."""
    seed: int = 0
    base: str | None = None
    """A folder or Hugging Face id of a model to go on from, with its tokenizer."""
    context: PositiveInt | None = None
    """How many tokens the model says it reads, where rows of that length teach a base to read more than it did."""
    shape: Shape | None = None
    vocabulary: Vocabulary | None = None
    lora: Lora | None = None
    schedule: Schedule
    phases: Annotated[list[Phase], Field(min_length=1)]
    template: Literal["llama-3", "own"] = "llama-3"
    """What the base must speak: Llama-3's template, or whatever its tokenizer has."""
    pad_token: str | None = None
    """For a tokenizer that has none; any token that is never said."""
    attention: Literal["sdpa", "flash_attention_2"] = "sdpa"
    packing: bool = False
    """Fill each batch with whole rows end to end: only attention that keeps them apart can do it."""
    recompute: bool = False
    """Keep no activations and compute them again on the way back: slower by a third, for much less memory."""
    save_steps: PositiveInt = 500
    """A checkpoint every so often, from which a run that was stopped goes on. Two are kept."""
    compile: bool = False
    """Compile the layers (needs a C++ compiler): half a minute once, then steps are a quarter faster on a CPU."""

    @model_validator(mode="after")
    def _begins_somewhere(self) -> Self:
        nothing = self.shape is not None and self.vocabulary is not None
        if nothing == (self.base is not None) or (self.shape is None) != (self.vocabulary is None):
            raise ValueError("a recipe has either a `base` to go on from, or a `shape` with a `vocabulary`")
        if self.lora and nothing:
            raise ValueError("`lora` needs a `base`: matrices beside random weights learn nothing")
        if self.context and (nothing or self.lora or self.max_length < self.context):
            raise ValueError("`context` is for a `base` whose weights are all trained, with rows of up to that length")
        return self

    @model_validator(mode="after")
    def _packs_what_can_be_packed(self) -> Self:
        if not self.packing:
            return self
        if self.attention != "flash_attention_2":
            raise ValueError("`packing` needs `attention: flash_attention_2`; with sdpa rows would read each other")
        if len(self.phases) > 1 or not isinstance(phase := self.phases[0], RowsPhase) or phase.copying:
            raise ValueError("`packing` takes one phase of rows without copying")
        if phase.batch_tokens < phase.max_length:
            raise ValueError("`packing` needs `batch_tokens` of at least `max_length`")
        return self

    def with_paths(self, base: str | None, output: Path | None) -> Self:
        """The recipe with another base or output, where one is named. A run's folder goes with the output."""
        changed = {"base": base} if base else {}
        moved = {"output": output, "run": None} if output else {}
        return type(self).model_validate({**self.model_dump(), **changed, **moved})

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        return self.run or self.output.with_name(f"{self.output.name}.run")

    @property
    def max_length(self) -> int:
        """The longest row that any phase takes."""
        return max(phase.max_length if isinstance(phase, RowsPhase) else phase.length for phase in self.phases)


def load_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file.

    Raises RecipeError for what is no YAML, and pydantic's ValidationError naming the key that is wrong.
    """
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} can't be read: {error}") from error
