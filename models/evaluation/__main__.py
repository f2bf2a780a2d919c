"""All evaluations by name: `python -m models.evaluation NAME …`; each tells its own options with `--help`."""

import importlib
import sys
from collections.abc import Sequence

# By the module that has it as `main(arguments) -> exit status`, imported when it is asked for.
COMMANDS = {
    "personagym": ("personagym", "PersonaGym and PersonaGym-Light, with any judge"),
    "rpeval": ("rpeval", "RPEval: emotions, decisions, staying in character; no judge"),
    "interviews": ("interviews", "answers of characters, for `apc` and `atomic` to read"),
    "apc": ("claims", "APC scores of interviews: the card's claims, borne out or contradicted"),
    "atomic": ("traits", "atomic-level fidelity of interviews: traits, sentence by sentence"),
    "recall": ("remote_recall", "profile recall of any server: does it give what the card says"),
    "judge": ("judge_check", "`judge check`: is a judge fit to judge"),
    "drift": ("drift", "fidelity by turn over conversations of a hundred turns"),
    "chats": ("chats", "a newcomer's chats with the library's characters, to be read; loops and the like are counted"),
    "fidelity": ("fidelity_gain", "what the best of n replies is worth, and what it costs"),
    "report": ("report", "one HTML page of all scores, beside the paper's"),
}


def tell_usage() -> str:
    """The names, and what each is."""
    lines = [f"  {name:<12} {about}" for name, (_, about) in COMMANDS.items()]
    return "\n".join(["usage: python -m models.evaluation NAME …", "", *lines])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(tell_usage())  # noqa: T201, a command line prints
        return 0 if given else 2
    name, *rest = given
    if name not in COMMANDS:
        print(f"there is no evaluation {name!r}\n{tell_usage()}", file=sys.stderr)  # noqa: T201
        return 2
    if name == "judge" and rest[:1] == ["check"]:
        rest = rest[1:]
    return int(importlib.import_module(f"models.evaluation.{COMMANDS[name][0]}").main(rest) or 0)


if __name__ == "__main__":
    sys.exit(main())
