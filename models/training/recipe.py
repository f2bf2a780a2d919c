"""What a recipe file may say. One YAML file describes one model; a key that nobody reads is refused."""

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator


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


class Schedule(_Section):
    """One AdamW for all phases: linear warm-up, then cosine decay to a twentieth of `learning_rate`."""

    learning_rate: PositiveFloat
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    weight_decay: Annotated[float, Field(ge=0)] = 0.1


class CopyingPhase(_Section):
    """Random tokens said again and again, loss from the second time on: hones the heads that copy."""

    kind: Literal["copying"]
    steps: PositiveInt
    length: Annotated[int, Field(ge=8)] = 256
    batch_tokens: PositiveInt = 8192


class RowsPhase(_Section):
    """Rows of the data, each once, batched by length. Loss on the replies, or on everything."""

    kind: Literal["rows"]
    data: list[Path]
    loss: Literal["replies", "everything"] = "replies"
    max_tokens: PositiveInt | None = None
    """Stop after that many tokens of data; None reads all of it."""
    max_length: PositiveInt = 2048
    """Longer rows are left out."""
    batch_tokens: PositiveInt = 8192
    copying: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of steps that go on copying random tokens, so that what a copying phase formed isn't lost."""


Phase = Annotated[CopyingPhase | RowsPhase, Field(discriminator="kind")]


class Recipe(_Section):
    """A model from nothing, by its shape and vocabulary, or from a `base`; and the phases that train it, in order."""

    output: Path
    seed: int = 0
    base: Path | None = None
    """The folder of a model to go on from, with its tokenizer."""
    shape: Shape | None = None
    vocabulary: Vocabulary | None = None
    schedule: Schedule
    phases: Annotated[list[Phase], Field(min_length=1)]
    save_steps: PositiveInt = 500
    """Write the model as it stands every so often, so that a run that is stopped leaves something."""
    compile: bool = False
    """Compile the layers (needs a C++ compiler): half a minute once, then steps are a quarter faster on a CPU."""

    @model_validator(mode="after")
    def _begins_somewhere(self) -> Self:
        nothing = self.shape is not None and self.vocabulary is not None
        if nothing == (self.base is not None) or (self.shape is None) != (self.vocabulary is None):
            raise ValueError("a recipe has either a `base` to go on from, or a `shape` with a `vocabulary`")
        return self


def load_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file. Raises pydantic's ValidationError naming the key that is wrong."""
    return Recipe.model_validate(yaml.safe_load(path.read_text()))
