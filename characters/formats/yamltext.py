"""YAML text as values, strictly: the types of JSON, no alias, no tag, no key twice, one document.

Built from libyaml's events, which can be counted: aliases are how YAML makes bombs, and tags how it makes objects.
"""

import re
from collections.abc import Iterator

import yaml

from characters.card import CardError
from characters.formats.document import Json, decode_text, duplicate_key, too_deep
from characters.formats.limits import MAX_DEPTH, MAX_YAML_BYTES, MAX_YAML_EVENTS

CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# Narrow: what matches is quoted by every writer that means a text, also by PyYAML, whose `1e5` is one.
INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,30})")
REAL = re.compile(r"-?[0-9]+\.[0-9]+([eE][-+][0-9]+)?")
# Line ends of other kinds, which come back as line feeds unless they are escaped, and the byte order mark.
ODD = re.compile("[\r\x85\u2028\u2029\ufeff]")


def parse_yaml(raw: bytes) -> Json:
    """The value of the document; None when it is empty.

    Raises CardError: `not_utf8`, `invalid_yaml`, `duplicate_key`, `document_too_large`, `too_deep`.
    """
    if len(raw) > MAX_YAML_BYTES:
        raise CardError(f"the YAML has {len(raw):,} bytes; at most {MAX_YAML_BYTES:,} are read", "document_too_large")
    events = _events(decode_text(raw))
    try:
        next(events)
        if isinstance(next(events), yaml.StreamEndEvent):
            return None
        value = _value(next(events), events)
        next(events)
        if isinstance(next(events), yaml.StreamEndEvent):
            return value
    except yaml.YAMLError as error:
        raise _invalid(" ".join(str(error).split())[:200]) from None
    raise _invalid("it has a second document")


def dump_yaml(value: Json) -> bytes:
    """The value as YAML, keys in their order, texts of several lines as blocks."""
    text: str = yaml.dump(value, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=120)
    return text.encode()


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and an object that is there twice in full."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 PyYAML names it
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    if ODD.search(text):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _events(text: str) -> Iterator[yaml.Event]:
    for count, event in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
        if count > MAX_YAML_EVENTS:
            raise CardError(f"the YAML has more than {MAX_YAML_EVENTS:,} values", "document_too_large")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _invalid("it has an anchor or an alias; expected plain values")
        if (tag := getattr(event, "tag", None)) is not None:
            raise _invalid(f"it has a tag, {tag[:60]!r}; expected plain values")
        yield event


def _value(event: yaml.Event, events: Iterator[yaml.Event], depth: int = 0) -> Json:
    if depth > 2 * MAX_DEPTH:
        raise too_deep()
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event)
    if isinstance(event, yaml.SequenceStartEvent):
        items: list[Json] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(_value(event, events, depth + 1))
        return items
    made: dict[str, Json] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        if not isinstance(event, yaml.ScalarEvent):
            raise _invalid("a key is no text")
        if event.value in made:
            raise duplicate_key(event.value)
        made[event.value] = _value(next(events), events, depth + 1)
    return made


def _scalar(event: yaml.ScalarEvent) -> str | int | float | bool | None:
    text: str = event.value
    if not event.implicit[0]:
        return text
    if text in CONSTANTS:
        return CONSTANTS[text]
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if REAL.fullmatch(text) else text


def _invalid(told: str) -> CardError:
    return CardError(f"this is neither JSON nor YAML that is read here: {told}", "invalid_yaml")
