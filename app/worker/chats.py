"""Uploads as chats, and chats as files."""

from pathlib import Path

from characters.chats.chat import Chat
from characters.chats.reading import read_chat
from characters.chats.writing import Format, write_branches, write_chat


def read_chat_file(upload: Path) -> Chat:
    """The chat in the file. Raises CardError."""
    return read_chat(upload.read_bytes())


def write_chat_file(chat: Chat, format: Format, branches: str | None, path: Path) -> None:
    """Write the branch that is shown, or a ZIP of all whose first file is called `branches`. Raises CardError."""
    path.write_bytes(write_chat(chat, format) if branches is None else write_branches(chat, format, branches))
