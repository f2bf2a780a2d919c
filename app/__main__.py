"""The command line: `python -m app serve | chat | characters | sessions | keys`."""

import argparse
import sys
from pathlib import Path

from pydantic import ValidationError

from app.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m app", description="OpenCharacter, a role-play inference server.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="serve on OPENCHARACTER_HOST and OPENCHARACTER_PORT")
    chat = commands.add_parser("chat", help="talk to a character of a running server")
    chat.add_argument("character", help="its id; `python -m app chat ?` lists them")
    chat.add_argument("--url", help="the server (default: the one that the settings describe)")
    chat.add_argument("--name", default="User", help="who you are")
    chat.add_argument("--persona", default="", help="one line about you")
    chat.add_argument("--session", help="go on with this session")
    chat.add_argument("--greeting", type=int, default=0, help="which of the character's greetings")
    chat.add_argument(
        "--channels",
        default="show",
        choices=("show", "separate", "hide"),
        help="thoughts and actions as they are written (default), set off in another style, or left out",
    )
    _add_characters(commands.add_parser("characters", help="bring characters to a running server, and back"))
    _add_sessions(commands.add_parser("sessions", help="bring chats of other programs, and take sessions home"))
    commands.add_parser("keys", help="make an API key")
    chosen = parser.parse_args(arguments)
    if chosen.command == "keys":
        from app.security import new_key

        print(new_key())
        return 0
    try:
        settings = Settings()
    except ValidationError as error:
        for fault in error.errors():
            variable = "OPENCHARACTER_" + str(fault["loc"][0]).upper() if fault["loc"] else "settings"
            print(f"{variable}: {fault['msg'].removeprefix('Value error, ')}", file=sys.stderr)
        return 2
    if chosen.command == "serve":
        from app.serve import serve

        return serve(settings)
    if chosen.command == "characters":
        from app.commands.characters import characters

        return characters(settings, chosen)
    if chosen.command == "sessions":
        from app.commands.sessions import sessions

        return sessions(settings, chosen)
    from app.chat import chat as talk

    return talk(settings, chosen)


def _add_characters(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    bring = actions.add_parser("import", help="cards in JSON, PNG, CHARX or YAML, folders, and ZIPs of many")
    bring.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    take = actions.add_parser("export", help="write characters to files named by their ids")
    take.add_argument("ids", nargs="+", metavar="ID")
    take.add_argument("--format", default="png", choices=("json-v2", "json-v3", "png", "charx", "yaml"))
    take.add_argument("--to", default=Path(), type=Path, metavar="FOLDER", help="where to (default: here)")
    write = actions.add_parser("synthesize", help="write a character from one line about them, or from a text")
    source = write.add_mutually_exclusive_group(required=True)
    source.add_argument("persona", nargs="?", help="who they are, such as `a cynical detective who loves jazz`")
    source.add_argument("--text", type=Path, metavar="FILE", help="a text that tells of them, however long")
    write.add_argument("--name", help="what they are called, in the text too (default: what the model makes up)")
    write.add_argument("--character", metavar="ID", help="one who is there: a text fills what the profile lacks")
    for action in (bring, take, write):
        action.add_argument("--url", help="the server (default: the one that the settings describe)")


def _add_sessions(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    bring = actions.add_parser(
        "import", help="chats of SillyTavern (JSONL, ZIPs of branches), OpenAI, ooba, Agnai, CAI"
    )
    bring.add_argument("paths", nargs="+", type=Path, metavar="FILE")
    bring.add_argument("--character", action="append", required=True, metavar="ID", help="with whom; again for a cast")
    bring.add_argument("--name", help="who you are (default: as in the file)")
    bring.add_argument("--user-id", metavar="ID", help="whose the sessions are")
    take = actions.add_parser("export", help="write sessions to files named by their ids")
    take.add_argument("ids", nargs="+", metavar="ID")
    take.add_argument("--format", default="sillytavern", choices=("sillytavern", "openai"))
    take.add_argument("--branches", default="active", choices=("active", "all"), help="all: a ZIP, each branch a file")
    take.add_argument("--to", default=Path(), type=Path, metavar="FOLDER", help="where to (default: here)")
    for action in (bring, take):
        action.add_argument("--url", help="the server (default: the one that the settings describe)")


if __name__ == "__main__":
    sys.exit(main())
