"""One phase of training: transformers' Trainer over ready-made batches, with the loss on chosen positions only."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import LlamaForCausalLM, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from models.training.batches import IGNORED, Batch
from models.training.recipe import Schedule


@dataclass(frozen=True, slots=True)
class Point:
    """The mean loss since the last point, and the tokens read by then (padding included)."""

    phase: str
    step: int
    tokens: int
    loss: float


class _PhaseTrainer(Trainer):
    """Takes whole batches as items, and computes logits only where there is a label: the vocabulary is a quarter of the work."""

    def compute_loss(self, model: Any, inputs: Batch, *unused: Any, **unused_too: Any) -> torch.Tensor:
        # Trainer's signature has more, and differs between versions; none of it is ours to use.
        labels = inputs["labels"][:, 1:]
        with torch.autocast(labels.device.type, torch.bfloat16):
            hidden = model.model(input_ids=inputs["input_ids"], use_cache=False).last_hidden_state[:, :-1]
            chosen = labels != IGNORED
            logits = model.lm_head(hidden[chosen])
        return functional.cross_entropy(logits.float(), labels[chosen])


class _Recorder(TrainerCallback):
    def __init__(self, phase: str, batch_tokens: int) -> None:
        self.points: list[Point] = []
        self._phase = phase
        self._batch_tokens = batch_tokens

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, float] | None = None, **kwargs: Any
    ) -> None:
        # kwargs: the trainer hands every callback all it has.
        if logs and "loss" in logs:
            self.points.append(Point(self._phase, state.global_step, state.global_step * self._batch_tokens, float(logs["loss"])))


def run_phase(network: LlamaForCausalLM, batches: Dataset[Batch], name: str, schedule: Schedule, *, seed: int, folder: Path) -> list[Point]:
    """Train `network` in place on every batch once; returns the course of the loss. `folder` is the trainer's scratch."""
    recorder = _Recorder(name, schedule.batch_tokens)
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=1,
        num_train_epochs=1,
        learning_rate=schedule.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.05},
        warmup_steps=schedule.warmup_steps,
        weight_decay=schedule.weight_decay,
        adam_beta2=0.95,
        max_grad_norm=1.0,
        logging_steps=20,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=[],
        seed=seed,
        data_seed=seed,
        remove_unused_columns=False,
        label_names=["labels"],
    )
    trainer = _PhaseTrainer(
        model=network, args=arguments, train_dataset=batches, data_collator=lambda items: items[0], callbacks=[recorder]
    )
    trainer.train()
    return recorder.points
