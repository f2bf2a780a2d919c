"""Names of what is made here: no two are the same, and nobody guesses one."""

import uuid


def new_id(kind: str) -> str:
    """`kind_` and 122 random bits."""
    return f"{kind}_{uuid.uuid4().hex}"
