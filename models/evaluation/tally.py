"""What the verdicts of a run come to: scores by question, what was lost and why, means by persona.

As the paper reports: a task's score is the mean of a persona's questions, PersonaScore the plain mean of the five
tasks, and both come with mean and population standard deviation over personas.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from models.evaluation.intervals import Estimate, estimate, estimate_gain
from models.evaluation.judge import SCALE
from models.evaluation.personagym_tree import TASKS, Item
from models.evaluation.scores import MOST_LOST
from models.synthesis.pipeline.task import Row

PERSONA_SCORE = "PersonaScore"
MEASURES = (*TASKS, PERSONA_SCORE)

# Measures by persona.
Table = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Tally:
    """The scores of `total` questions, by id, and reasons why some have none."""

    total: int
    scores: Mapping[str, float]
    lost: Counter[str]

    @property
    def lost_share(self) -> float:
        return self.lost.total() / self.total if self.total else 1.0

    @property
    def is_sound(self) -> bool:
        """Whether enough is left to speak of all."""
        return self.lost_share <= MOST_LOST and bool(self.scores)


def tally(
    items: Sequence[Item],
    judged: Sequence[Mapping[str, int | None]],
    reasons: Mapping[str, str],
) -> Tally:
    """The mean of all judges' scores of each question; a question that one of them has no score for is lost.

    `judged` are the scores by question of each judge, `reasons` why questions came to none.
    """
    scores: dict[str, float] = {}
    lost: Counter[str] = Counter()
    for item in items:
        given = [by_id.get(item.id) for by_id in judged]
        found = [score for score in given if score is not None]
        if found and len(found) == len(given):
            scores[item.id] = fmean(found)
            continue
        missed = any(item.id in by_id and by_id[item.id] is None for by_id in judged)
        lost["verdict: no score in it" if missed else reasons.get(item.id, "not done yet")] += 1
    return Tally(len(items), scores, lost)


def collect_scores(rows: Sequence[Row]) -> dict[str, int | None]:
    """One judge's scores by question."""
    return {question: score for row in rows for question, score in row["scores"].items()}


def score_personas(items: Sequence[Item], scores: Mapping[str, float]) -> Table:
    """The measures of each persona of which every task has a score."""
    given: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        if item.id in scores:
            given[item.persona][item.task].append(scores[item.id])
    table: Table = {}
    for persona, by_task in given.items():
        if len(by_task) == len(TASKS):
            means = {task: fmean(by_task[task]) for task in TASKS}
            table[persona] = {**means, PERSONA_SCORE: fmean(means.values())}
    return table


def estimate_measures(table: Table) -> dict[str, Estimate]:
    """Each measure over personas."""
    return {name: estimate([row[name] for row in table.values()]) for name in MEASURES}


def compare(ours: Table, theirs: Table) -> dict[str, Estimate]:
    """How much more each of our measures is, persona by persona, over those that both have."""
    both = [persona for persona in ours if persona in theirs]
    if not both:
        return {}
    return {
        name: estimate_gain([ours[one][name] for one in both], [theirs[one][name] for one in both]) for name in MEASURES
    }


def count_scores(items: Sequence[Item], scores: Mapping[str, float]) -> dict[str, dict[str, int]]:
    """How often each score was given, by task; halves that two judges make are rounded up."""
    counts = {task: dict.fromkeys(map(str, SCALE), 0) for task in TASKS}
    for item in items:
        if item.id in scores:
            counts[item.task][str(int(scores[item.id] + 0.5))] += 1
    return counts
