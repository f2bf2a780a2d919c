"""The rows of a recipe, rendered once and kept on disk: token ids and labels, memory-mapped from then on."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from characters.card import CardError
from datasets import Dataset
from pydantic import ValidationError
from rich.progress import track

from models.renderer import Renderer, RenderError
from models.training.copying import copying_examples
from models.training.recipe import CopyingPhase, Phase, Recipe, RecipeError, RowsPhase
from models.training.rows import BadRow, Example, build_example, parse_row

# Labels that count for nothing, as in transformers.
IGNORED = -100
# Random tokens between rows are said again at distances at which a card is read; so many batches of them are made.
STREWN_LENGTH = 1024
STREWN_BATCHES = 64
_ROWS, _ABOUT = "rows.arrow", "rows.json"
_ROWS_AT_ONCE = 512
_IDS = pa.list_(pa.int32())
# `part` counts from 0: two for each phase, its rows and what is strewn among them.
_SCHEMA = pa.schema([("input_ids", _IDS), ("labels", _IDS), ("length", pa.int32()), ("part", pa.int32())])


@dataclass(frozen=True, slots=True)
class Corpus:
    """`rows` of all phases, one after the other; why others were left out, with how many; and what names them all."""

    rows: Dataset
    dropped: Counter[str]
    digest: str

    def lengths(self, part: int) -> tuple[int, list[int]]:
        """The number of the part's first row, and its rows' lengths."""
        ours = np.flatnonzero(self.rows.data.column("part").to_numpy() == part)
        lengths = self.rows.data.column("length").to_numpy()[ours]
        return int(ours[0]) if len(ours) else 0, lengths.tolist()


def load_corpus(recipe: Recipe, renderer: Renderer, random_ids: range) -> Corpus:
    """The rows of the recipe, from its run's folder where they have been rendered before.

    Random tokens are drawn from `random_ids`. Raises RecipeError where nothing is left to learn from.
    """
    digest = _digest(recipe, renderer)
    rows, about = recipe.folder / _ROWS, recipe.folder / _ABOUT
    known = json.loads(about.read_bytes()) if about.exists() else {}
    if known.get("digest") == digest and rows.exists():
        return Corpus(Dataset.from_file(str(rows)), Counter(known["dropped"]), digest)
    recipe.folder.mkdir(parents=True, exist_ok=True)
    about.unlink(missing_ok=True)
    dropped: Counter[str] = Counter()
    _write(rows, _render(recipe, renderer, random_ids, dropped))
    about.write_text(json.dumps({"digest": digest, "dropped": dropped}))
    return Corpus(Dataset.from_file(str(rows)), dropped, digest)


def _digest(recipe: Recipe, renderer: Renderer) -> str:
    files = [path for phase in recipe.phases if isinstance(phase, RowsPhase) for path in phase.data]
    for path in files:
        if not path.is_file():
            raise RecipeError(f"{path}: there is no such file; write the recipe's data first")
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    phases = [phase.model_dump(mode="json") for phase in recipe.phases]
    told = json.dumps([phases, recipe.seed, renderer.fingerprint, stats])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _render(
    recipe: Recipe, renderer: Renderer, random_ids: range, dropped: Counter[str]
) -> Iterator[tuple[int, Example]]:
    for number, phase in enumerate(recipe.phases):
        seed, learned = recipe.seed + number + 1, 0
        for example in _phase_examples(phase, renderer, random_ids, seed, dropped):
            learned += 1
            yield 2 * number, example
        if not learned:
            reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.most_common()) or "the files are empty"
            raise RecipeError(f"phase {number + 1} has no rows to learn from: {reasons}")
        if isinstance(phase, RowsPhase) and phase.copying:
            strewn = copying_examples(STREWN_BATCHES, phase.batch_tokens, STREWN_LENGTH, random_ids, seed)
            yield from ((2 * number + 1, example) for example in strewn)


def _phase_examples(
    phase: Phase, renderer: Renderer, random_ids: range, seed: int, dropped: Counter[str]
) -> Iterator[Example]:
    if isinstance(phase, CopyingPhase):
        return copying_examples(phase.steps, phase.batch_tokens, phase.length, random_ids, seed)
    return _row_examples(phase, renderer, dropped)


def _row_examples(phase: RowsPhase, renderer: Renderer, dropped: Counter[str]) -> Iterator[Example]:
    """The phase's rows that can be learned from; the others are counted by what is wrong with them."""
    tokens = 0
    for line in track(_lines(phase.data), "rendering", total=None, transient=True):
        try:
            example = build_example(renderer, parse_row(line))
        except BadRow as error:
            dropped[str(error)] += 1
        except (CardError, ValidationError, TypeError, KeyError):
            dropped["bad fields"] += 1
        except RenderError:
            dropped["refused by the template"] += 1
        else:
            if len(example.token_ids) > phase.max_length:
                dropped["too long"] += 1
                continue
            if phase.loss == "everything":
                example = Example(example.token_ids, np.ones_like(example.is_reply))
            if not example.is_reply.any():
                dropped["nothing to learn"] += 1
                continue
            yield example
            tokens += len(example.token_ids)
            if phase.max_tokens and tokens >= phase.max_tokens:
                return


def _lines(paths: Iterable[Path]) -> Iterator[bytes]:
    for path in paths:
        with path.open("rb") as file:
            yield from (line for line in file if line.strip())


def _write(path: Path, examples: Iterable[tuple[int, Example]]) -> None:
    """Write the rows whole or not at all."""
    part = path.with_suffix(".part")
    with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_stream(sink, _SCHEMA) as writer:
        left = iter(examples)
        while some := list(islice(left, _ROWS_AT_ONCE)):
            writer.write_batch(_record_batch(some))
    part.replace(path)


def _record_batch(examples: Iterable[tuple[int, Example]]) -> Any:  # pyarrow has no types
    ids, labels, lengths, parts = [], [], [], []
    for number, example in examples:
        ids.append(example.token_ids)
        labels.append(np.where(example.is_reply, example.token_ids, IGNORED).astype(np.int32))
        lengths.append(len(example.token_ids))
        parts.append(number)
    columns = [pa.array(ids, _IDS), pa.array(labels, _IDS), pa.array(lengths, pa.int32()), pa.array(parts, pa.int32())]
    return pa.record_batch(columns, schema=_SCHEMA)
