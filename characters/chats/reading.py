"""A chat from whatever file people have of one, told by its content; a ZIP's files are its branches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from characters.card import CardError
from characters.chats.chat import Chat, Json, Line, build_chat
from characters.chats.coercion import read_name
from characters.chats.limits import MAX_BRANCHES, MAX_BRANCHES_BYTES
from characters.chats.logs import PAIRS, SHOWN, read_agnai, read_cai, read_textgen
from characters.chats.openai import read_messages
from characters.chats.sillytavern import read_header, read_line
from characters.formats.archive import Archive
from characters.formats.document import parse_json
from characters.lore.coercion import Coercion, first_warnings

ZIP = b"PK\3\4"
# What a line of JSON can't be without.
OPENING = (b"{", b"[")


@dataclass(frozen=True, slots=True)
class Read:
    """What one file says: its branches, the one that is shown first, and SillyTavern's header."""

    branches: Sequence[Sequence[Line]]
    header: dict[str, Json] = field(default_factory=dict)

    @property
    def is_branch(self) -> bool:
        """Whether its header names the file that it parted from."""
        metadata = self.header.get("chat_metadata")
        return isinstance(metadata, dict) and bool(metadata.get("main_chat"))

    @property
    def latest(self) -> float:
        """When its last message was said."""
        said = [line.swipes[line.chosen].time or 0.0 for branch in self.branches for line in branch[-1:]]
        return max(said, default=0.0)


def read_chat(blob: bytes) -> Chat:
    """The chat in a file, single lines that can't be read left out with a warning.

    Raises CardError for a file that is none: `unknown_chat`, `empty_chat`, and those of its container and of JSON; and
    `too_many_messages`.
    """
    coercion = Coercion()
    reads = list(_read_zip(blob, coercion)) if blob.startswith(ZIP) else [_read(blob, coercion)]
    # What others are branches of, then what was talked in last.
    reads.sort(key=lambda read: (read.is_branch, -read.latest))
    header = reads[0].header
    chat = build_chat(
        [branch for read in reads for branch in read.branches],
        user=_name(header, "user_name", coercion),
        character=_name(header, "character_name", coercion),
        beside=header,
    )
    return Chat(
        chat.messages, chat.tip, chat.user, chat.character, chat.beside, tuple(first_warnings(coercion.warnings))
    )


def _name(header: dict[str, Json], key: str, coercion: Coercion) -> str:
    # What SillyTavern writes since its names stand with the messages alone.
    name = read_name(header.get(key), coercion, "line 1")
    return "" if name == "unused" else name


def _read_zip(blob: bytes, coercion: Coercion) -> Iterator[Read]:
    archive = Archive(blob)
    paths = [path for path in archive.sizes if not path.startswith("__MACOSX/") and not path.endswith(".DS_Store")]
    if len(paths) > MAX_BRANCHES or sum(archive.sizes[path] for path in paths) > MAX_BRANCHES_BYTES:
        told = f"the ZIP has {len(paths):,} files; at most {MAX_BRANCHES:,} of {MAX_BRANCHES_BYTES >> 20} MiB are read"
        raise CardError(told, "too_many_branches")
    failure = CardError("the ZIP is empty; expected chats in it", "empty_chat")
    found = False
    for path in paths:
        inside = Coercion()
        try:
            read = _read(archive.read(path), inside)
        except CardError as error:
            failure = failure if failure.code != "empty_chat" else error
            coercion.warn(f"{path[:80]}: {error}")
            continue
        for warning in inside.warnings:
            coercion.warn(f"{path[:80]}: {warning}")
        found = True
        yield read
    if not found:
        raise failure


def _read(blob: bytes, coercion: Coercion) -> Read:
    lines = [line for line in blob.splitlines() if line.strip()]
    try:
        return _read_value(parse_json(blob, coercion), coercion)
    except CardError:
        # Several values, a line each, are no JSON.
        if len(lines) < 2 or not lines[0].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(OPENING):
            raise
        read = _read_lines(blob, coercion)
        if read is None:
            raise
        return read


def _read_value(value: Json, coercion: Coercion) -> Read:
    if isinstance(value, list):
        return _read_objects([(f"message {number}", item) for number, item in enumerate(value, 1)], value, coercion)
    if isinstance(value, dict):
        messages, histories = value.get("messages"), value.get("histories")
        if isinstance(histories, dict):
            histories = histories.get("histories")
        if isinstance(messages, list):
            agnai = any(isinstance(item, dict) and "msg" in item for item in messages)
            return Read([read_agnai(messages, coercion) if agnai else read_messages(messages, coercion)])
        if isinstance(histories, list):
            return Read(read_cai(histories, coercion))
        if any(isinstance(value.get(key), list) for key in (*PAIRS, *SHOWN)):
            return Read([read_textgen(value, coercion)])
        return _read_objects([("line 1", value)], [value], coercion)
    raise _unknown()


def _read_lines(blob: bytes, coercion: Coercion) -> Read | None:
    """The values on their lines; None where most of these hold none."""
    values: list[tuple[str, Json]] = []
    broken = 0
    for number, line in enumerate(blob.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            values.append((f"line {number}", parse_json(line, coercion)))
        except CardError as error:
            coercion.warn(f"{error}; the line was left out", f"line {number}")
            broken += 1
    return _read_objects(values, [value for _, value in values], coercion) if len(values) > broken else None


def _read_objects(placed: Sequence[tuple[str, Json]], values: Sequence[Json], coercion: Coercion) -> Read:
    """Messages of SillyTavern's or OpenAI's, or whole conversations of OpenAI's, each with its place in the file."""
    objects = [value for value in values if isinstance(value, dict)]
    if any("mes" in value or "chat_metadata" in value for value in objects):
        return _read_sillytavern(placed, coercion)
    if any(isinstance(value.get("messages"), list) for value in objects):
        conversations = [value["messages"] for value in objects if isinstance(value.get("messages"), list)]
        return Read([read_messages(messages, coercion) for messages in conversations[:MAX_BRANCHES]])
    if any("role" in value for value in objects):
        return Read([read_messages(values, coercion)])
    raise _unknown()


def _read_sillytavern(placed: Sequence[tuple[str, Json]], coercion: Coercion) -> Read:
    header: dict[str, Json] = {}
    lines: list[Line] = []
    for index, (place, value) in enumerate(placed):
        if not isinstance(value, dict) or ("mes" not in value and index):
            coercion.warn("this is no message, and was left out", place)
        elif "mes" not in value:
            header = read_header(value, coercion)
        else:
            lines.append(read_line(value, coercion, place))
    return Read([lines], header)


def _unknown() -> CardError:
    told = "this is no chat that is known; expected SillyTavern's JSONL, OpenAI's messages, or a log of another program"
    return CardError(told, "unknown_chat")
