"""One HTML page of scores: `python -m models.evaluation report build/*.scores.json --out build/report.html`.

PersonaGym's runs stand side by side, by edition, beside what the paper reports; scores of the other evaluations in
tables of their own. The page needs nothing from anywhere: pictures are in it.
"""

import argparse
import sys
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.console import Console

from models.evaluation.charts import draw_counts, draw_gains, draw_measures
from models.evaluation.outcome import BENCHMARK
from models.evaluation.published import JUDGE, PAPER, TABLES
from models.evaluation.scores import MOST_LOST
from models.evaluation.tally import MEASURES
from models.synthesis.teachers.teacher import Stop

MOST_FILE_BYTES = 64 << 20
MOST_RUNS = 32
# Lines of a table of other scores, and how deep they are looked for.
MOST_LINES, MOST_DEPTH = 200, 4
ENDING = ".scores.json"
SHARE_KEYS = {"share", "interval", "of", "told", "right"}
OUTCOME_KEYS = {"model", "identity", "measures", "lost", "counts", "cost", "samples"}

Json = Any  # whatever an evaluation writes


def build_report(paths: Sequence[Path]) -> str:
    """The page. Raises Stop naming a file that has no scores."""
    runs = [_load(path) for path in paths]
    gyms = [run for run in runs if run["scores"].get("benchmark") == BENCHMARK]
    others = [run for run in runs if run not in gyms]
    page = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template("report.html.j2")
    return page.render(
        editions=[_build_edition(edition, gyms) for edition in TABLES if _of_edition(gyms, edition)],
        others=_build_others(others),
        measures=MEASURES,
        paper=PAPER,
        paper_judge=JUDGE,
        most_lost=MOST_LOST,
    )


def _load(path: Path) -> dict[str, Json]:
    """The scores in a file, the command that made them, and pictures that stand beside it."""
    try:
        if path.stat().st_size > MOST_FILE_BYTES:
            raise ValueError(f"more than {MOST_FILE_BYTES} bytes")
        scores = orjson.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Stop(f"{path} can't be read: {error}") from error
    if not isinstance(scores, dict) or (scores.get("benchmark") == BENCHMARK and not scores.keys() >= OUTCOME_KEYS):
        raise Stop(f"{path} has no scores, or not as this version writes them")
    stem = _name_run(path.name)
    command = _read_command(path.with_name(f"{stem}.manifest.json"))
    return {
        "title": stem,
        "command": command,
        "scores": scores,
        "picture": _read_picture(path.with_name(f"{stem}.svg")),
    }


def _name_run(file: str) -> str:
    """What a run is called on the page: its file, less the ending."""
    return file.removesuffix(ENDING)


def _read_picture(path: Path) -> str:
    """The plot that an evaluation drew beside its scores; as an image, nothing in it is run."""
    return f"data:image/svg+xml;base64,{b64encode(path.read_bytes()).decode()}" if path.is_file() else ""


def _read_command(path: Path) -> str:
    try:
        return str(orjson.loads(path.read_bytes())["made_from"]["command"])
    except (OSError, ValueError, LookupError, TypeError):
        return "scores"


def _of_edition(gyms: Sequence[Mapping[str, Json]], edition: str) -> list[dict[str, Json]]:
    """The outcomes of an edition, told apart by model and file."""
    return [
        {**run["scores"], "title": f"{run['scores']['model']} ({run['title']})"}
        for run in gyms
        if run["scores"]["identity"]["edition"] == edition
    ]


def _build_edition(edition: str, gyms: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    outcomes = _of_edition(gyms, edition)
    scored = [outcome for outcome in outcomes if outcome["measures"]]
    name, table, published = TABLES[edition]
    for outcome in outcomes:
        if baseline := outcome.get("baseline"):
            outcome["baseline"] = {**baseline, "title": f"{baseline['model']} ({_name_run(baseline['file'])})"}
        outcome["lost_total"] = sum(outcome["lost"].values())
        outcome["chart"] = draw_counts(outcome) if outcome["measures"] else ""
        outcome["gains_chart"] = draw_gains(outcome) if outcome.get("baseline", {}).get("gains") else ""
    return {
        "name": name,
        "table": table,
        "outcomes": outcomes,
        "scored": scored,
        "published": published,
        "chart": draw_measures(scored, edition) if scored else "",
        "is_papers": all(_is_papers(outcome) for outcome in scored),
    }


def _is_papers(outcome: Mapping[str, Json]) -> bool:
    """Whether it was measured as the paper measures."""
    identity = outcome["identity"]
    return bool(identity["judges"] == [JUDGE] and identity["mode"] == "opencharacter")


def _build_others(runs: Sequence[Mapping[str, Json]]) -> list[dict[str, Json]]:
    """A table for each evaluation: a line a score, a column a run."""
    grouped: dict[str, list[Mapping[str, Json]]] = defaultdict(list)
    for run in runs:
        grouped[run["command"]].append(run)
    tables = []
    for command, those in sorted(grouped.items()):
        columns = [dict(flatten(run["scores"])) for run in those]
        names = list(dict.fromkeys(name for column in columns for name in column))[:MOST_LINES]
        lines = [(name, [column.get(name, "–") for column in columns]) for name in names]
        pictures = [run["picture"] for run in those if run["picture"]]
        tables.append({"title": command, "runs": [run["title"] for run in those], "lines": lines, "pictures": pictures})
    return tables


def flatten(scores: Json, name: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """The numbers in an evaluation's scores, by their path; shares with their interval, and of how many they are."""
    if isinstance(scores, dict) and "share" in scores and "interval" in scores:
        low, high = scores["interval"]
        yield name or "share", f"{scores['share']:.1%} [{low:.1%}, {high:.1%}] of {scores['of']:,}"
        yield from flatten({key: scores[key] for key in scores if key not in SHARE_KEYS}, name, depth)
    elif isinstance(scores, dict) and depth < MOST_DEPTH:
        for key, value in scores.items():
            called = str(key).replace("_", " ")
            yield from flatten(value, f"{name} · {called}" if name else called, depth + 1)
    elif isinstance(scores, bool | str):
        yield name, str(scores)[:200]
    elif isinstance(scores, list) and len(scores) == 2 and all(isinstance(end, float) for end in scores):
        yield name, f"{scores[0]:.3f} to {scores[1]:.3f}"
    elif isinstance(scores, int | float):
        yield name, f"{scores:,}" if isinstance(scores, int) else f"{scores:.3f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", nargs="+", type=Path, help="files *.scores.json")
    parser.add_argument("--out", type=Path, required=True, help="the page")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        if len(options.scores) > MOST_RUNS:
            raise Stop(f"{len(options.scores)} runs are more than fit on a page ({MOST_RUNS})")
        page = build_report(options.scores)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(page, encoding="utf-8")
    except (Stop, OSError, ImportError) as error:
        needed = "; it comes with the extra `train`" if isinstance(error, ImportError) else ""
        console.print(f"no report: {error}{needed}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    console.print(f"written to {options.out}", markup=False, highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
