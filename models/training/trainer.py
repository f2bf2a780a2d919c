"""TRL's SFTTrainer over rows that are rendered already: in batches that are planned, with the loss on what is labelled.

Rows come as ids and labels, so no template and no mask of TRL's is used; its collator pads, its loop trains, its
checkpoints are what a stopped run goes on from.
"""

from typing import Any

import torch
from accelerate import PartialState
from torch.nn import functional
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling, SFTTrainer

from models.training.corpus import IGNORED, Corpus
from models.training.lora import build_lora
from models.training.plan import MULTIPLE, BatchPlan
from models.training.recipe import Recipe, Schedule

# Checkpoints that are kept: the last one may be half written when a run is killed.
KEPT = 2
_POINTS = 200


class RowTrainer(SFTTrainer):
    """Reads the batches of a plan, where there is one, and counts the tokens that it has read."""

    plan: BatchPlan | None = None
    tokens = 0

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The plan's batches; packed rows, where there is no plan."""
        loader: DataLoader[Any]
        if self.plan is None:
            loader = super().get_train_dataloader()
            return loader
        rows = self._remove_unused_columns(self.train_dataset, description="training")
        loader = DataLoader(rows, batch_sampler=self.plan, collate_fn=self.data_collator, pin_memory=False)
        loader = self.accelerator.prepare(loader)
        return loader

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:  # as untyped as what it overrides
        """The loss by token. On a CPU, TRL computes logits where there is no label, too: a quarter of a small model's
        work. There they are left out here; nor is padding masked, for it stands last and attention is causal."""
        self.tokens += int(inputs["input_ids"].numel() if self.plan is None else inputs["attention_mask"].sum())
        if self.accelerator.device.type != "cpu":
            theirs: Any = super().compute_loss  # which TRL leaves untyped
            return theirs(model, inputs, return_outputs, num_items_in_batch)
        network = self.accelerator.unwrap_model(model)
        causal = network.get_base_model() if hasattr(network, "get_base_model") else network
        labels = inputs["labels"][:, 1:]
        chosen = labels != IGNORED
        with self.accelerator.autocast():
            hidden = causal.base_model(input_ids=inputs["input_ids"], use_cache=False).last_hidden_state[:, :-1]
            logits = causal.get_output_embeddings()(hidden[chosen])
        loss = functional.cross_entropy(logits.float(), labels[chosen], reduction="sum")
        return loss / (chosen.sum() if num_items_in_batch is None else num_items_in_batch)

    def create_model_card(self, *_args: Any, **_kwargs: Any) -> None:  # whatever TRL says of the model
        """A run writes no card: what was trained is said by who publishes it."""

    def _send_telemetry(self) -> None:
        """Nobody is told of a training."""


def build_trainer(
    recipe: Recipe,
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Corpus,
    plan: BatchPlan | None,
    callbacks: list[Any],
) -> RowTrainer:
    """A trainer for the recipe; without a plan, rows are packed."""
    batches = len(plan) if plan else None
    trainer = RowTrainer(
        model=network,
        args=build_arguments(recipe, batches),
        train_dataset=corpus.rows.select_columns(["input_ids", "labels"]),
        processing_class=tokenizer,
        peft_config=build_lora(recipe.lora) if recipe.lora else None,
        callbacks=callbacks,
        data_collator=None
        if plan is None
        else DataCollatorForLanguageModeling(tokenizer.pad_token_id, pad_to_multiple_of=MULTIPLE),
    )
    trainer.plan = plan
    trainer.remove_callback(PrinterCallback)  # the journal tells it all
    return trainer


def build_arguments(recipe: Recipe, batches: int | None) -> SFTConfig:
    """The recipe in TRL's words; `batches` is how many are planned."""
    schedule, phase = recipe.schedule, recipe.phases[0]
    on_gpu = torch.cuda.is_available()
    steps = (batches or 0) // (schedule.accumulate * PartialState().num_processes)
    return SFTConfig(
        output_dir=str(recipe.folder),
        num_train_epochs=1 if batches else getattr(phase, "epochs", 1),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=schedule.accumulate,
        packing=batches is None,
        max_length=phase.batch_tokens if batches is None else None,
        shuffle_dataset=False,
        bf16=True,
        use_cpu=not on_gpu,
        gradient_checkpointing=recipe.recompute,
        learning_rate=schedule.learning_rate,
        **decay_arguments(schedule),
        weight_decay=schedule.weight_decay,
        adam_beta1=schedule.betas[0],
        adam_beta2=schedule.betas[1],
        max_grad_norm=1.0,
        logging_steps=_logging_steps(recipe.save_steps, steps // _POINTS if batches else 10),
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=recipe.save_steps,
        save_total_limit=KEPT,
        accelerator_config={"even_batches": False},
        dataloader_pin_memory=on_gpu,
        disable_tqdm=True,
        report_to=[],
        seed=recipe.seed,
    )


def _logging_steps(save_steps: int, wanted: int) -> int:
    """About `wanted`, 20 at most, so that each checkpoint ends a stretch whose mean is logged."""
    return max(steps for steps in range(1, max(2, min(21, wanted + 1))) if save_steps % steps == 0)


def decay_arguments(schedule: Schedule) -> dict[str, Any]:
    """The schedule's name and its own arguments, as transformers has them."""
    final = schedule.final_learning_rate or schedule.learning_rate / 20
    warmup = {"warmup_steps": schedule.warmup_steps or schedule.warmup_share}
    match schedule.decay:
        case "constant":
            return {"lr_scheduler_type": "constant_with_warmup", **warmup}
        case "linear":
            linear = {"lr_end": final, "power": 1.0}
            return {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": linear, **warmup}
    return {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": final}, **warmup}
