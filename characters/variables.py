"""The macros that keep something: `{{setvar::name::value}}`, `getvar`, `addvar`, `incvar`, `decvar`, and the same for
`globalvar`.

As in SillyTavern (public/scripts/variables.js): numbers add up, anything else is joined.
"""

import re
from collections.abc import MutableMapping
from functools import partial

from characters.calls import Arguments, Call, Context

# What would become more isn't kept: of one kind together, since each turn hands them all on to the next.
MAX_VARIABLES = 256
MAX_VALUES_CHARS = 1 << 16

_COLONS = re.compile("::")
_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d{1,15})?")


def _add(one: str, other: str) -> str:
    """The sum of two numbers, else both texts in a row."""
    if not (_NUMBER.fullmatch(one.strip() or "0") and _NUMBER.fullmatch(other.strip())):
        return one + other
    total = float(one.strip() or 0) + float(other)
    return str(int(total)) if total.is_integer() else repr(total)


class Shelf:
    """One kind of variables and the macros on it: `var`, or `globalvar`."""

    def __init__(self, name: str) -> None:
        self._is_global = name == "globalvar"
        self.calls: dict[str, Call] = {
            f"get{name}": self._get,
            f"set{name}": self._set,
            f"add{name}": self._add,
            f"inc{name}": partial(self._step, "1"),
            f"dec{name}": partial(self._step, "-1"),
        }

    def _kept(self, context: Context) -> MutableMapping[str, str]:
        return context.global_variables if self._is_global else context.variables

    def _keep(self, context: Context, variable: str, value: str) -> str | None:
        kept, name = self._kept(context), variable.strip()
        others = [(known, said) for known, said in kept.items() if known != name]
        size = sum(len(known) + len(said) for known, said in others) + len(name) + len(value)
        if len(others) >= MAX_VARIABLES or size > MAX_VALUES_CHARS:
            return None
        kept[name] = value
        return ""

    def _get(self, context: Context, arguments: Arguments) -> str:
        return self._kept(context).get(arguments.text().strip(), "")

    def _set(self, context: Context, arguments: Arguments) -> str | None:
        variable, *value = arguments.split(_COLONS, 1)
        return self._keep(context, variable, value[0]) if value else None

    def _add(self, context: Context, arguments: Arguments) -> str | None:
        variable, *value = arguments.split(_COLONS, 1)
        before = self._kept(context).get(variable.strip(), "")
        return self._keep(context, variable, _add(before, value[0])) if value else None

    def _step(self, by: str, context: Context, arguments: Arguments) -> str | None:
        variable = arguments.text().strip()
        value = _add(self._kept(context).get(variable, ""), by)
        return None if self._keep(context, variable, value) is None else value


VARIABLE_CALLS = Shelf("var").calls | Shelf("globalvar").calls
