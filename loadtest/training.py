"""`python -m loadtest.training`: fine-tuning by TRL, as recipes do it, beside a bare loop in torch, on one model.

Both read the same batches of the same rows in the same order, compute in bf16 beside float32 weights, and need logits
only where there is a label; they take turns. The bare loop is what one would write by hand: nothing is logged, saved or
counted in it. Exits with 1 where the ratio misses its target.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional
from transformers import AutoModelForCausalLM

from loadtest.machine import describe_machine
from models.synthesis.personas import imagine_characters
from models.synthesis.smalltalk import build_rows
from models.training.base import open_base
from models.training.corpus import IGNORED, Corpus, load_corpus
from models.training.curriculum import plan_batches
from models.training.journal import Journal
from models.training.plan import BatchPlan, padded
from models.training.recipe import Recipe
from models.training.trainer import build_trainer

TARGET = 0.9
MODEL = "models/tiny"
# Steps at the beginning of each run that don't count: torch finds its kernels in them, and compiles.
WARM_UP = 5


def build_recipe(folder: Path, tokens: int, batch_tokens: int) -> Recipe:
    """A recipe for so many tokens of small talk."""
    data = folder / "rows.jsonl"
    data.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in build_rows(imagine_characters(tokens // 500, 4), 4)))
    phase = {"kind": "rows", "data": [data], "max_tokens": tokens, "batch_tokens": batch_tokens}
    schedule = {"learning_rate": 1e-4, "warmup_steps": 10}
    run = {"output": folder / "model", "base": MODEL, "schedule": schedule, "phases": [phase], "save_steps": 10**6}
    return Recipe.model_validate(run)


def measure_bare(corpus: Corpus, plan: BatchPlan, *, compiled: bool) -> float:
    """Tokens a second of a loop by hand."""
    network = open_network(compiled=compiled)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1)
    tokens = 0
    began = 0.0
    for step, numbers in enumerate(plan, 1):
        rows = corpus.rows[numbers]
        length = padded(max(map(len, rows["input_ids"])))
        ids, labels = (
            torch.tensor([[*row, *[filler] * (length - len(row))] for row in rows[name]])
            for name, filler in (("input_ids", 0), ("labels", IGNORED))
        )
        chosen = labels[:, 1:] != IGNORED
        with torch.autocast("cpu", torch.bfloat16):
            hidden = network.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
            logits = network.lm_head(hidden[chosen])
        loss = functional.cross_entropy(logits.float(), labels[:, 1:][chosen])
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step > WARM_UP:
            tokens += sum(map(len, rows["input_ids"]))
        elif step == WARM_UP:
            began = time.perf_counter()
    return tokens / (time.perf_counter() - began)


def measure_trl(recipe: Recipe, corpus: Corpus, plan: BatchPlan, *, compiled: bool) -> float:
    """Tokens a second of the trainer, by its own journal."""
    base = open_base(recipe)
    journal = Journal(recipe.folder / "loss.jsonl", plan.part_at, Console(quiet=True))
    trainer = build_trainer(recipe, open_network(compiled=compiled), base.tokenizer, corpus, plan, [journal])
    trainer.args.logging_steps, trainer.args.save_strategy = WARM_UP, "no"
    journal.tokens = lambda: trainer.tokens
    (recipe.folder / "loss.jsonl").unlink(missing_ok=True)
    trainer.train()
    first, last = journal.points[0], journal.points[-1]
    return (last.tokens - first.tokens) / (last.seconds - first.seconds)


def open_network(*, compiled: bool) -> Any:  # transformers can't tell what it loads
    """The model in float32."""
    network = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    if compiled:
        for layer in network.model.layers:
            layer.compile(dynamic=True)
    return network.train()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=150_000, help="that a run reads")
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3, help="how often both are run")
    parser.add_argument("--compile", action="store_true", help="compile the layers, in both")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    machine = describe_machine()
    ours, bare = [], []
    with tempfile.TemporaryDirectory() as scratch:
        recipe = build_recipe(Path(scratch), options.tokens, options.batch_tokens)
        corpus = load_corpus(recipe, open_base(recipe).renderer, range(0))
        plan = plan_batches(recipe, corpus)
        assert plan is not None
        for _ in range(options.rounds):
            bare.append(measure_bare(corpus, plan, compiled=options.compile))
            ours.append(measure_trl(recipe, corpus, plan, compiled=options.compile))
    ratio = median(one / other for one, other in zip(ours, bare, strict=True))
    table = Table("", *(f"round {number}" for number in range(1, options.rounds + 1)), title="tokens a second")
    table.add_row("TRL", *(f"{value:,.0f}" for value in ours))
    table.add_row("bare loop", *(f"{value:,.0f}" for value in bare))
    console = Console()
    console.print(table)
    console.print(f"ratio, median of the rounds: {ratio:.2f} (target {TARGET})")
    if options.json:
        figures = {"machine": machine, "trl": ours, "bare": bare, "ratio": ratio}
        options.json.write_text(json.dumps(figures, indent=2))
    return 0 if ratio >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
