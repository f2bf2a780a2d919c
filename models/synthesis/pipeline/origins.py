"""Where a source's rows are from, as far as can be told: by its name, its looks, and the manifest beside it."""

from collections.abc import Iterator
from dataclasses import replace

from models.synthesis.pipeline.licences import recognize
from models.synthesis.pipeline.manifest import read_origins
from models.synthesis.pipeline.sources import Source


def find_origins(source: Source) -> Iterator[str]:
    """The names by which `find_licences` knows them. Reads no more than a file's first row."""
    yield source.name
    if source.path:
        yield from (name for row in replace(source, limit=1).rows() if (name := recognize(row.value)))
        yield from read_origins(source.path)
