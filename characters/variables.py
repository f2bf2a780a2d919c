"""The macros that keep something: `{{setvar::name::value}}`, `getvar`, `addvar`, `incvar`, `decvar`, and the same for
`globalvar`. As in SillyTavern (public/scripts/variables.js): numbers add up, anything else is joined."""

import re
from collections.abc import MutableMapping

from characters.calls import Arguments, Call, Context

_COLONS = re.compile("::")
_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d{1,15})?")


def _add(one: str, other: str) -> str:
    """The sum of two numbers, else both texts in a row."""
    if not (_NUMBER.fullmatch(one.strip() or "0") and _NUMBER.fullmatch(other.strip())):
        return one + other
    total = float(one.strip() or 0) + float(other)
    return str(int(total)) if total.is_integer() else repr(total)


def _variable_calls(name: str) -> dict[str, Call]:
    """The five macros on one kind of variables: `var`, or `globalvar`."""

    def kept(context: Context) -> MutableMapping[str, str]:
        return context.variables if name == "var" else context.global_variables

    def get(context: Context, arguments: Arguments) -> str:
        return kept(context).get(arguments.text().strip(), "")

    def put(context: Context, arguments: Arguments) -> str | None:
        variable, *value = arguments.split(_COLONS, 1)
        if not value:
            return None
        kept(context)[variable.strip()] = value[0]
        return ""

    def add(context: Context, arguments: Arguments) -> str | None:
        variable, *value = arguments.split(_COLONS, 1)
        if not value:
            return None
        kept(context)[variable.strip()] = _add(kept(context).get(variable.strip(), ""), value[0])
        return ""

    def step(by: str) -> Call:
        def call(context: Context, arguments: Arguments) -> str:
            variable = arguments.text().strip()
            kept(context)[variable] = _add(kept(context).get(variable, ""), by)
            return kept(context)[variable]

        return call

    return {
        f"get{name}": get,
        f"set{name}": put,
        f"add{name}": add,
        f"inc{name}": step("1"),
        f"dec{name}": step("-1"),
    }


VARIABLE_CALLS = _variable_calls("var") | _variable_calls("globalvar")
