"""What an entry asks for beyond its fields: SillyTavern's options in `extensions`, and decorators over them.

SillyTavern writes `exclude_recursion`, chub and others `excludeRecursion`, and some leave options at the entry's root.
"""

import re
from collections.abc import Mapping
from functools import cache

from characters.lore.coercion import Coercion, Json
from characters.lorebook import LoreEntry

# An entry with one of these was written by SillyTavern, or for it; one with these by RisuAI.
SILLYTAVERN = frozenset(
    {"selectiveLogic", "display_index", "displayIndex", "exclude_recursion", "excludeRecursion", "useProbability"}
)
RISU = "risu_"
# Beyond any chat's length; a number that is larger says no more.
MOST = 10**9


class Options:
    """Reads one entry's options, coerced; a wrong value is warned of and counts as absent."""

    def __init__(self, entry: LoreEntry, decorators: Mapping[str, str], coercion: Coercion, place: str) -> None:
        self.decorators = decorators
        self._entry = entry
        self._coercion = coercion
        self._place = place

    @property
    def strict_regex(self) -> bool:
        """Whether all keys are patterns, as V3 has it.

        SillyTavern exports `use_regex` with every entry and means keys spelled `/pattern/flags`; so does RisuAI.
        """
        names = self._entry.extensions.keys()
        at_home = not SILLYTAVERN.isdisjoint(names) or any(name.startswith(RISU) for name in names)
        return self._entry.use_regex is True and not at_home

    @property
    def freezes(self) -> bool:
        """Our own option: `extensions.opencharacter.freeze`."""
        ours = self._entry.extensions.get("opencharacter")
        return isinstance(ours, dict) and ours.get("freeze") is True

    def value(self, name: str) -> Json:
        """The option as it was written, under its snake_case or camelCase name; None where there is none."""
        extra = self._entry.model_extra or {}
        for spelled in (name, _camel(name)):
            for fields in (self._entry.extensions, extra):
                if fields.get(spelled) is not None:
                    return fields[spelled]
        return None

    def flag(self, name: str) -> bool | None:
        value = self.value(name)
        return None if value is None else self._coercion.flag(value, None, f"`{name}`", self._place)

    def number(self, name: str) -> float | None:
        value = self.value(name)
        return None if value is None or value == "" else self._coercion.number(value, None, f"`{name}`", self._place)

    def count(self, name: str, default: int = 0) -> int:
        """A whole number from 0 on."""
        number = self.number(name)
        return default if number is None else int(min(max(number, 0), MOST))

    def text(self, name: str) -> str:
        value = self.value(name)
        return "" if value is None else self._coercion.text(value, "", f"`{name}`", self._place) or ""

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.value(name)
        return () if not value else tuple(self._coercion.texts(value, [], f"`{name}`", self._place) or ())

    def warn(self, message: str) -> None:
        self._coercion.warn(message, self._place)


@cache
def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)
