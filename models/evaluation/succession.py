"""Is a model at least as good as the one it would replace? `python -m models.evaluation.succession NEW OLD`.

NEW and OLD are paths up to what the evaluations have written: `NEW.recall.json` of `models.evaluation.recall`, and
`NEW.drift.scores.json` of `models.evaluation drift`. Prints both and exits with 1 where a measure is worse by more than
chance may make it.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

# By how much each may be worse: twice the standard error of the difference between two models as good as the shipped.
RECALL = {"profile_recall": 0.01, "style_adherence": 0.006, "user_recall": 0.035, "valid_profiles": 0.0}
FAULTS = {"markup_leaks": 0, "unfinished": 20}
DRIFT = {"card": 0.03, "user": 0.08, "voice": 0.015}
ENDS = {"begin": "first", "end": "last"}


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure of both models, and by how much the new one's may be worse. `fault` says that less is better."""

    name: str
    new: float
    old: float
    slack: float
    fault: bool = False

    @property
    def holds(self) -> bool:
        """Whether the new model is at least as good."""
        worse = self.new - self.old if self.fault else self.old - self.new
        return worse <= self.slack + 1e-9


def read_measures(new: str, old: str) -> Iterator[Measure]:
    """All that was measured of both. Raises OSError, and ValueError or KeyError where it isn't what was written."""
    for ours, theirs in zip(_read(f"{new}.recall.json"), _read(f"{old}.recall.json"), strict=True):
        at = f", temperature {ours['temperature']:g}"
        for name, slack in RECALL.items():
            yield Measure(name.replace("_", " ") + at, ours[name], theirs[name], slack)
        for name, most in FAULTS.items():
            yield Measure(name.replace("_", " ") + at, ours[name], theirs[name], most, fault=True)
    one, other = _read(f"{new}.drift.scores.json"), _read(f"{old}.drift.scores.json")
    for name, slack in DRIFT.items():
        for end, told in ENDS.items():
            shares = one[name][end]["share"], other[name][end]["share"]
            yield Measure(f"{name}, {told} turns of long chats", *shares, slack)


def result_table(measures: Sequence[Measure]) -> Table:
    """A row for each measure."""
    table = Table("measure", "new", "there now", "may be worse by", "")
    for one in measures:
        new, old, slack = ((f"{value:.0f}" if one.fault else f"{value:.1%}") for value in (one.new, one.old, one.slack))
        table.add_row(one.name, new, old, slack, "" if one.holds else "worse")
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 0 where the new model may take the old one's place, 2 where that can't be told."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("new", help="path of the new model's figures, without .recall.json")
    parser.add_argument("old", help="the same of the model that is there")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        measures = list(read_measures(options.new, options.old))
    except OSError as error:
        console.print(f"error: {error.filename}: {error.strerror}", style="red", markup=False, highlight=False)
        return 2
    except (KeyError, TypeError, ValueError) as error:
        console.print(f"error: no figures of an evaluation: {error!r}", style="red", markup=False, highlight=False)
        return 2
    console.print(result_table(measures))
    worse = [one.name for one in measures if not one.holds]
    console.print("at least as good" if not worse else f"worse: {'; '.join(worse)}")
    return 1 if worse else 0


def _read(path: str) -> Any:  # what JSON there is
    return orjson.loads(Path(path).read_bytes())


if __name__ == "__main__":
    sys.exit(main())
