"""Pictures that were sent to be shown: what they are, and whether they are whole."""

from pathlib import Path

from characters.formats.gallery import digest
from characters.formats.picture import Picture, check


def check_picture(upload: Path) -> tuple[Picture, str]:
    """What picture `upload` is, and its digest. Raises CardError: `not_a_picture`, `picture_too_large`."""
    blob = upload.read_bytes()
    return check(blob), digest(blob)
