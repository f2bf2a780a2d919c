"""What the paper reports (arXiv 2501.15427, tables 3 and 5), to stand beside scores of ours.

Judged by gpt-4o-2024-08-06 alone, 200 personas; means, in brackets the standard deviation over personas. None is what
the paper's text, as far as it was read, doesn't say.
"""

from dataclasses import dataclass

from models.evaluation.personagym_tree import TASKS

PAPER = "arXiv 2501.15427"
JUDGE = "gpt-4o-2024-08-06"
CALLED = "OpenCharacter 8B"


@dataclass(frozen=True, slots=True)
class Published:
    """One row: the five tasks in `TASKS`' order, PersonaScore, and its standard deviation."""

    model: str
    tasks: tuple[float, ...]
    score: float
    std: float | None = None

    def measure(self, name: str) -> float | None:
        """One measure by its name here."""
        by_name = dict(zip(TASKS, self.tasks, strict=False))
        return by_name.get(name) if name in TASKS else self.score


TABLE_3 = (
    Published("gpt-3.5-turbo-1106", (4.67, 4.99, 3.12, 4.42, 4.37), 4.31),
    Published("gpt-4o-2024-05-13", (4.74, 4.96, 3.69, 4.75, 4.87), 4.60),
    Published("gpt-4o-mini", (4.74, 4.99, 3.58, 4.72, 4.89), 4.58),
    Published("gpt-4o-2024-08-06", (4.81, 4.95, 3.75, 4.68, 4.85), 4.60),
    Published("LLaMA-3-8B-Instruct", (4.80, 4.76, 4.05, 4.64, 4.85), 4.62, 0.25),
    Published("LLaMA-3-70B-Instruct", (4.73, 4.75, 4.38, 4.79, 4.97), 4.72),
    Published(CALLED, (4.70, 4.92, 4.32, 4.54, 4.85), 4.66, 0.27),
)
TABLE_5 = (
    Published("gpt-4o-2024-08-06", (), 4.53, 0.12),
    Published("LLaMA-3-8B-Instruct", (), 4.45, 0.14),
    Published("LLaMA-3-70B-Instruct", (), 4.58, 0.14),
    Published("Ablation-5, on 8B-Instruct", (), 4.50, 0.15),
    Published("OpenCharacter 8B, on 8B-Base", (), 4.46, 0.15),
    Published(CALLED, (4.47, 4.78, 4.27, 4.51, 4.58), 4.52, 0.13),
)
# By edition: its name, the paper's table, and the rows of that.
TABLES = {"light": ("PersonaGym-Light", "table 3", TABLE_3), "full": ("PersonaGym", "table 5", TABLE_5)}
