"""One turn answered several times over: which answer was right, which was chosen, and what the choice gained."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from models.evaluation.episodes import Episode, Question
from models.evaluation.fidelity import Candidate
from models.evaluation.marks import contains_phrase, recalls
from models.evaluation.proportion import Z, proportion
from models.synthesis.voices import load_voices


@dataclass(frozen=True, slots=True)
class Trial:
    """One turn: for each candidate whether it was right and in the card's voice, and which the judge chose."""

    kind: str
    right: Sequence[bool]
    voiced: Sequence[bool]
    chosen: int


def mark(episode: Episode, question: Question, candidates: Sequence[Candidate], scores: Sequence[float]) -> Trial:
    """What the candidates were worth; small talk can't be wrong."""
    character = episode.character
    voice = load_voices()[character.voice]
    quoted = character.values[question.about].spoken if question.kind == "field" else question.wanted

    def is_right(text: str) -> bool:
        if question.kind == "field":
            return recalls(question.about, character.values[question.about], text)
        return question.kind != "recall" or contains_phrase(text, question.wanted)

    texts = [candidate.text for candidate in candidates]
    chosen = max(range(len(scores)), key=lambda place: (bool(texts[place]), scores[place]))
    return Trial(
        question.kind, [is_right(text) for text in texts], [voice.is_heard_in(text, quoted) for text in texts], chosen
    )


def score_trials(trials: Sequence[Trial]) -> dict[str, Any]:
    """For card, user and voice: the first answer, the chosen one, the best there was, and the gain in pairs."""
    kinds: dict[str, tuple[Sequence[Trial], Callable[[Trial], Sequence[bool]]]] = {
        "card": ([trial for trial in trials if trial.kind == "field"], lambda trial: trial.right),
        "user": ([trial for trial in trials if trial.kind == "recall"], lambda trial: trial.right),
        "voice": (trials, lambda trial: trial.voiced),
    }
    scores = {}
    for name, (those, read) in kinds.items():
        pairs = [(read(trial)[0], read(trial)[trial.chosen]) for trial in those]
        gain, interval = compare_pairs(pairs)
        scores[name] = {
            "first": proportion([first for first, _ in pairs]).to_json(),
            "chosen": proportion([chosen for _, chosen in pairs]).to_json(),
            "possible": proportion([any(read(trial)) for trial in those]).to_json(),
            "gain": gain,
            "interval": interval,
        }
    return scores


def compare_pairs(pairs: Sequence[tuple[bool, bool]]) -> tuple[float, tuple[float, float]]:
    """How many more of the second ones are true, with a 95 % interval of the difference.

    It is Bonett and Price's of paired shares: a pair more of each kind, so that few pairs that never differ don't pass
    for certainty.
    """
    won = sum(second and not first for first, second in pairs)
    lost = sum(first and not second for first, second in pairs)
    gain = (won - lost) / len(pairs) if pairs else 0.0
    more, less = (won + 1) / (len(pairs) + 2), (lost + 1) / (len(pairs) + 2)
    middle = more - less
    reach = Z * sqrt((more + less - middle**2) / (len(pairs) + 2))
    return gain, (max(-1.0, middle - reach), min(1.0, middle + reach))
