"""The mood of a text as eight numbers, one for each of Plutchik's basic emotions, so that memories of a mood come back
in that mood (Emotional RAG, arXiv 2410.23041, where a model rates them; here they are read off a text's meaning).
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from models.embedding import Vectors

Emotion = Literal["joy", "trust", "fear", "surprise", "sadness", "disgust", "anger", "anticipation"]
EMOTIONS: tuple[Emotion, ...] = get_args(Emotion)

# What somebody says in each.
ANCHORS = (
    "I am so happy and full of joy.",
    "I trust you and feel safe with you.",
    "I am afraid, it frightens me.",
    "What a surprise, I never expected that.",
    "I am so sad that I could cry.",
    "That is disgusting, it makes me sick.",
    "I am angry, this makes me furious.",
    "I am looking forward to it and can hardly wait.",
)
# How far an emotion must stand out from the others of its text to count.
STANDS_OUT = 0.08

Moods = NDArray[np.float32]
NEUTRAL: Moods = np.zeros(len(EMOTIONS), np.float32)


def read_moods(vectors: Vectors, anchors: Vectors) -> Moods:
    """A row of length one for each text, or zeros where no emotion stands out. `anchors` are the vectors of ANCHORS."""
    likeness = vectors @ anchors.T
    above = likeness - likeness.mean(axis=1, keepdims=True)
    felt = np.where(above >= STANDS_OUT, above, 0)
    lengths = np.linalg.norm(felt, axis=1, keepdims=True)
    moods: Moods = np.divide(felt, lengths, out=np.zeros_like(felt), where=lengths > 0)
    return moods.astype(np.float32)


def named_mood(name: str | None) -> Moods:
    """The mood of one emotion; of any other word, none."""
    return np.array([emotion == name for emotion in EMOTIONS], np.float32)


def mood_name(mood: Sequence[float]) -> Emotion | None:
    """The strongest emotion, or None where there is none."""
    return EMOTIONS[int(np.argmax(mood))] if any(mood) else None
