"""Macros in card text: `{{char}}`, `{{user}}` and their old spellings, in one pass, never by a template engine.

What a macro expands to is not read again, so a user named `{{char}}` stays `{{char}}`. Unknown macros are left as
they are. Names are matched without regard to case, as the card specifications ask.
"""

import re
from collections.abc import Mapping

_MACRO = re.compile(r"\{\{\s*(\w+)\s*\}\}|<(USER|BOT|CHAR)>", re.IGNORECASE)
_OLD = {"bot": "char", "char": "char", "user": "user"}


def expand(text: str, values: Mapping[str, str]) -> str:
    """`text` with each macro named in `values` (keys in lower case) replaced by its value."""

    def replace(match: re.Match[str]) -> str:
        name = (match[1] or _OLD[match[2].lower()]).lower()
        return values.get(name, match[0])

    return _MACRO.sub(replace, text)
