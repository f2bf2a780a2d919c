"""The training loop: transformers' Trainer over ready-made batches, in order, with the loss on chosen positions."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import LlamaForCausalLM, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from models.training.batches import IGNORED, Batch, Curriculum
from models.training.recipe import Schedule


@dataclass(frozen=True, slots=True)
class Point:
    """The mean loss since the last point, and the part of the curriculum it was measured in."""

    phase: str
    step: int
    loss: float


class _BatchTrainer(Trainer):
    """Takes whole batches as items, and computes logits only where there is a label: they are a quarter of the work."""

    def compute_loss(self, model: Any, inputs: Batch, *_args: Any, **_kwargs: Any) -> torch.Tensor:
        # Trainer's signature has more, and differs between versions; none of it is ours to use.
        labels = inputs["labels"][:, 1:]
        with torch.autocast(labels.device.type, torch.bfloat16):
            hidden = model.model(input_ids=inputs["input_ids"], use_cache=False).last_hidden_state[:, :-1]
            chosen = labels != IGNORED
            logits = model.lm_head(hidden[chosen])
        return functional.cross_entropy(logits.float(), labels[chosen])


class _Recorder(TrainerCallback):
    def __init__(self, curriculum: Curriculum, save: Callable[[], None], save_steps: int) -> None:
        self.points: list[Point] = []
        self._curriculum = curriculum
        self._save = save
        self._save_steps = save_steps

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002  # this and the next: the trainer passes them by name
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,  # and all else that it has
    ) -> None:
        if state.global_step % self._save_steps == 0:
            self._save()

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002  # this and the next: the trainer passes them by name
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, float] | None = None,
        **_: Any,  # and all else that it has
    ) -> None:
        if logs and "loss" in logs:
            phase = next(name for name, end in self._curriculum.ends if state.global_step <= end)
            self.points.append(Point(phase, state.global_step, float(logs["loss"])))


def run(
    network: LlamaForCausalLM,
    curriculum: Curriculum,
    schedule: Schedule,
    *,
    seed: int,
    folder: Path,
    save: Callable[[], None],
    save_steps: int,
) -> list[Point]:
    """Train `network` in place on every batch once, in order; returns the loss's course.

    `folder` is scratch space; `save` is called every `save_steps` steps.
    """
    recorder = _Recorder(curriculum, save, save_steps)
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=1,
        num_train_epochs=1,
        learning_rate=schedule.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.05},
        warmup_steps=schedule.warmup_steps,
        weight_decay=schedule.weight_decay,
        adam_beta2=0.98,
        max_grad_norm=1.0,
        logging_steps=min(20, max(1, len(curriculum) // 4)),
        logging_nan_inf_filter=False,
        train_sampling_strategy="sequential",
        save_strategy="no",
        report_to=[],
        seed=seed,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        label_names=["labels"],
    )
    trainer = _BatchTrainer(
        model=network,
        args=arguments,
        train_dataset=curriculum,
        data_collator=lambda items: items[0],
        callbacks=[recorder],
    )
    trainer.train()
    return recorder.points
