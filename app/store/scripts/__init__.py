"""The Lua scripts: what must happen in one step, whoever else writes."""

from pathlib import Path


def load_script(name: str) -> str:
    """The source of `name`.lua beside this file."""
    return (Path(__file__).parent / f"{name}.lua").read_text()
