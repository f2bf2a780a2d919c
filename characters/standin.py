"""A description that stands in for the profile where a program knows none: in files, of a character without another.

Here the profile itself is told, and would be told twice: our extension marks the description by its digest, and one
that comes back as it went is left out again. One that somebody has changed is theirs.
"""

import hashlib
from typing import Any

from characters.profile import Profile

# In our extension; no other program knows it.
MARK = "description_sha256"
# Of a card's JSON.
Data = dict[str, Any]


def with_standin(data: Data, profile: Profile | None, extension: str) -> Data:
    """The card's `data` with the profile's lines as its description, where it has none."""
    lines = profile.lines() if profile else ""
    if data["description"] or not lines:
        return data
    extensions = data["extensions"]
    ours = {**extensions.get(extension, {}), MARK: _digest(lines)}
    return {**data, "description": lines, "extensions": {**extensions, extension: ours}}


def is_standin(data: Data, ours: Data) -> bool:
    """Whether the description is one that was put there, by what our extension says."""
    description = data.get("description")
    return isinstance(description, str) and ours.get(MARK) == _digest(description)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
