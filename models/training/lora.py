"""A recipe's LoRA as PEFT has it."""

from peft import LoraConfig

from models.training.recipe import Lora


def build_lora(lora: Lora) -> LoraConfig:
    """Beside every linear layer, which is what matches full fine-tuning.

    Not beside the head, for which vLLM's adapters have no place.
    """
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        bias="none",
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
