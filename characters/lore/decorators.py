"""Decorators: lines such as `@@depth 4` at the head of an entry's content, which say when and where it is told.

Character Card V3's (kwaroran/character-card-spec-v3, SPEC_V3.md, "Decorators") and the ones that RisuAI adds. Those
that count tokens of a prompt without turns (`instruct_depth` and its like), and `reverse_depth`, are to be ignored in
a chat, so here they are unknown.
"""

import re
from collections.abc import Callable

from characters.lore.coercion import Coercion

_LINE = re.compile(r"@@@?([A-Za-z_]\w*)[ \t]*(.*)")


def _anything(_: str) -> bool:
    return True


def _is_text(value: str) -> bool:
    return bool(value)


def _is_integer(value: str) -> bool:
    return bool(re.fullmatch(r"-?[0-9]{1,9}", value))


def _is_count(value: str) -> bool:
    return _is_integer(value) and int(value) >= 0


def _is_positive(value: str) -> bool:
    return _is_integer(value) and int(value) > 0


def _is_percentage(value: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,9})?", value))


KNOWN: dict[str, Callable[[str], bool]] = {
    "activate": _anything,
    "dont_activate": _anything,
    "activate_only_after": _is_count,
    "activate_only_every": _is_positive,
    "keep_activate_after_match": _anything,
    "dont_activate_after_match": _anything,
    "depth": _is_integer,
    "role": {"assistant", "system", "user"}.__contains__,
    "scan_depth": _is_count,
    "is_greeting": _is_count,
    "is_user_icon": _is_text,
    "position": {"after_desc", "before_desc", "personality", "scenario"}.__contains__,
    "ignore_on_max_context": _anything,
    "additional_keys": _is_text,
    "exclude_keys": _is_text,
    "disable_ui_prompt": {"post_history_instructions", "system_prompt"}.__contains__,
    # RisuAI's own.
    "end": _anything,
    "exclude_keys_all": _is_text,
    "match_full_word": _anything,
    "match_partial_word": _anything,
    "probability": _is_percentage,
    "priority": _is_integer,
    "recursive": _anything,
    "unrecursive": _anything,
    "no_recursive_search": _anything,
}


def split_decorators(content: str, coercion: Coercion, place: str = "") -> tuple[dict[str, str], str]:
    """The decorators at the head of `content`, by name, and the rest without the line breaks around them.

    Of several with one name the first counts. One that is unknown, or whose value is wrong, is ignored with a warning,
    and gives way to its fallbacks, the `@@@` lines right below it.
    """
    decorators: dict[str, str] = {}
    lines = content.split("\n")
    below = 0
    settled = True
    for number, line in enumerate(map(str.strip, lines), 1):
        if line.startswith("@@"):
            below = number
            if not (settled and line.startswith("@@@")):
                settled = _take(line, decorators)
                if not settled:
                    coercion.warn(f"the decorator {line[:60]!r} is unknown here, or its value is wrong", place)
        elif line:
            break
    return decorators, "\n".join(lines[below:]).strip("\r\n") if below else content


def _take(line: str, decorators: dict[str, str]) -> bool:
    """Keep the line's decorator where it is known and its value is right; whether it is."""
    match = _LINE.fullmatch(line)
    if not match:
        return False
    name, value = match[1].lower(), match[2].strip()
    if name not in KNOWN or not KNOWN[name](value):
        return False
    decorators.setdefault(name, value)
    return True


def values(decorator: str) -> list[str]:
    """The values of a decorator that has several, separated by commas."""
    return [value.strip() for value in decorator.split(",") if value.strip()]
