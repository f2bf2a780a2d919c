"""Ids that clients choose for what they register."""

from typing import Any

from app.errors import InvalidRequestError
from characters.card import slug


def check_id(value: Any) -> str | None:
    """`value` where it is an id; None where the server is to make one. Raises InvalidRequestError."""
    if value is not None and (not isinstance(value, str) or value != slug(value)):
        raise InvalidRequestError(
            "`id` is a slug: at most 48 lower-case letters, digits and single dashes", param="id", code="invalid_id"
        )
    return value
