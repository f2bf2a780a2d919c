"""Prose cut into sentences: what fidelity is measured by, one claim at a time."""

import re

# An end of a sentence, with what closes behind it, before white space or a line's end. Wide signs need no space.
_END = re.compile(r"[.!?…]+[\"'”’»)\]*]*(?=\s|$)|[。！？]+[」』”’]*|\n+")
# After these a dot ends nothing: titles, initials, what abbreviates.
_UNENDED = re.compile(r"(?:^|[\s(\"“])(?:Mr|Mrs|Ms|Dr|St|Prof|Sgt|Capt|vs|etc|e\.g|i\.e|[A-Z])\.$")
# What says something has a letter or a digit.
_SAID = re.compile(r"\w")


def split_sentences(text: str) -> list[str]:
    """The sentences of `text` in their order, as they are written; what has no word goes with nothing."""
    sentences, start = [], 0
    for end in _END.finditer(text):
        if _UNENDED.search(text[start : end.end()]) and end.end() < len(text):
            continue
        sentences.append(text[start : end.end()])
        start = end.end()
    sentences.append(text[start:])
    return [" ".join(sentence.split()) for sentence in sentences if _SAID.search(sentence)]
