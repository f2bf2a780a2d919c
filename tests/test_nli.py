"""A classifier of natural language inference, loaded and run for real: a small one with random weights."""

from pathlib import Path

import pytest

from models.nli import BATCH, NliError, open_nli
from tests.conftest import TINY

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of two layers."""
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("nli")
    file = str(TINY / "tokenizer.json")
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=file, pad_token="<|end_of_text|>")  # type: ignore[no-untyped-call]  # transformers' own
    tokenizer.save_pretrained(folder)
    labels = {0: "contradiction", 1: "neutral", 2: "entailment"}
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        id2label=labels,
        label2id={label: place for place, label in labels.items()},
    )
    model = BertForSequenceClassification(config)  # type: ignore[no-untyped-call]  # transformers' own
    model.save_pretrained(folder)
    return folder


async def test_every_pair_has_a_verdict(classifier: Path) -> None:
    nli = await open_nli(str(classifier))
    pairs = [("It rains. " * number, "It is wet.") for number in range(BATCH + 3)]
    verdicts = await nli.judge([*pairs, ("x " * 10_000, "y")])
    assert len(verdicts) == BATCH + 4
    for verdict in verdicts:
        assert verdict.entailed + verdict.neutral + verdict.contradicted == pytest.approx(1, abs=1e-5)
    assert await nli.judge([]) == []
    await nli.close()


async def test_verdicts_do_not_depend_on_the_batch(classifier: Path) -> None:
    nli = await open_nli(str(classifier))
    long, short = ("It rains and it pours, all day long.", "It is wet."), ("No.", "Yes.")
    together, [alone] = await nli.judge([long, short]), await nli.judge([short])
    assert together[1].entailed == pytest.approx(alone.entailed, abs=1e-4)
    await nli.close()


async def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NliError, match="can't judge"):
        await open_nli(str(tmp_path / "nowhere"))
