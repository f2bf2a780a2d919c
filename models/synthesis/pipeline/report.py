"""What was left out and why, with samples to judge it by: a Markdown file beside each output."""

from collections import Counter
from pathlib import Path

from models.synthesis.pipeline.journal import beside, read_lines
from models.synthesis.pipeline.ledger import Ledger

SAMPLES = 5


def write_report(path: Path, ledger: Ledger) -> Path:
    """The report of the output at `path`: counts by reason, and samples of each. Returns where it stands."""
    samples: dict[str, list[str]] = {}
    for row in read_lines(beside(path, "dropped.jsonl")):
        of_reason = samples.setdefault(str(row["reason"]), [])
        if len(of_reason) < SAMPLES:
            of_reason.append(f"- `{row['id']}`: {_quoted(str(row.get('sample', '')))}")
    total = max(1, ledger.done)
    lines = [
        f"# {path.name}",
        "",
        f"{ledger.kept} rows kept, {ledger.dropped.total()} dropped.",
        "",
        *_table("dropped for", ledger.dropped, total),
        *_table("asked again for (this run)", ledger.retried, total),
    ]
    for reason, of_reason in sorted(samples.items()):
        lines += [f"## {reason}", "", *of_reason, ""]
    report = beside(path, "report.md")
    report.write_text("\n".join(lines))
    return report


def _table(title: str, counts: Counter[str], total: int) -> list[str]:
    if not counts:
        return []
    rows = [f"| {reason} | {count} | {count / total:.2%} |" for reason, count in counts.most_common()]
    return [f"| {title} | rows | of all |", "|---|---:|---:|", *rows, ""]


def _quoted(text: str) -> str:
    plain = " ".join(text.split()).replace("`", "'")
    return f"`` {plain} ``" if plain else "(nothing)"
