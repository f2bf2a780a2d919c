"""Names and texts of messages as the server has them everywhere, with a warning for what had to change."""

from characters.chats.chat import Json
from characters.chats.limits import MAX_NAME_CHARS
from characters.lore.coercion import Coercion
from characters.profile import one_line


def read_text(value: Json, what: str, coercion: Coercion, place: str) -> str:
    """A text without NUL, which nothing here may hold."""
    text = coercion.text(value, "", what, place) or ""
    if "\0" in text:
        coercion.warn("NUL characters (\\u0000) were replaced by U+FFFD", place)
        text = text.replace("\0", "\ufffd")
    return text


def read_name(value: Json, coercion: Coercion, place: str = "") -> str:
    """A name on one line, no longer than names are; nothing where there is none."""
    name = one_line(read_text(value, "a name", coercion, place)) if value is not None else ""
    if len(name) > MAX_NAME_CHARS:
        coercion.warn(f"a name has more than {MAX_NAME_CHARS} characters, and was cut off", place)
    return name[:MAX_NAME_CHARS]
