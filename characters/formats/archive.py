"""ZIP files in memory, opened with suspicion: no bomb, no way out of its folder, no link, no encryption.

Nothing is ever unpacked to disk.
"""

import io
import stat
import struct
import zipfile
import zlib
from types import MappingProxyType

from characters.card import CardError
from characters.formats.assets import is_safe_path
from characters.formats.limits import MAX_ARCHIVE_BYTES, MAX_FILE_BYTES, MAX_FILES, MAX_RATIO, MIN_BOMB_BYTES

# The end of the central directory: its last 22 bytes and a comment of up to 64 KiB.
END, END_BYTES, MAX_COMMENT_BYTES = b"PK\5\6", 22, 1 << 16
# What ZIP64 puts before it.
LOCATOR, LOCATOR_BYTES = b"PK\6\7", 20
# An entry of the directory has 46 bytes and its name.
MAX_ENTRY_BYTES = 600
ENCRYPTED = 1


class Archive:
    """The files of a ZIP, by path, in the order of its directory. Whatever precedes the ZIP is skipped."""

    def __init__(self, blob: bytes) -> None:
        """Raises CardError: `invalid_zip`, `encrypted_zip`, `zip_bomb`, `unsafe_path`, `symlink`, `duplicate_file`."""
        _check_directory(blob)
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(blob))
        except (zipfile.BadZipFile, ValueError, EOFError, OverflowError, NotImplementedError) as error:
            raise CardError(f"the ZIP can't be read: {str(error)[:120]}", "invalid_zip") from None
        entries: dict[str, zipfile.ZipInfo] = {}
        for entry in self._zip.infolist():
            path = entry.filename.replace("\\", "/")
            _check_entry(entry, path)
            if path in entries:
                raise CardError(f"the ZIP has {path!r} twice; expected once", "duplicate_file")
            entries[path] = entry
        total = sum(entry.file_size for entry in entries.values())
        if total > MAX_ARCHIVE_BYTES:
            told = f"the ZIP unpacks to {total:,} bytes; at most {MAX_ARCHIVE_BYTES:,} are read"
            raise CardError(told, "zip_bomb")
        self.sizes = MappingProxyType({path: entry.file_size for path, entry in entries.items() if not entry.is_dir()})
        self.start = min((entry.header_offset for entry in entries.values()), default=0)
        self._entries = entries

    def read(self, path: str) -> bytes:
        """The file's content. Raises CardError: `file_too_large`, `zip_bomb`, `invalid_zip`."""
        entry = self._entries[path]
        if entry.file_size > max(MIN_BOMB_BYTES, MAX_RATIO * entry.compress_size):
            told = f"{path!r} unpacks to more than {MAX_RATIO} times its size, which no card does"
            raise CardError(told, "zip_bomb")
        if entry.file_size > MAX_FILE_BYTES:
            told = f"{path!r} has {entry.file_size:,} bytes; at most {MAX_FILE_BYTES:,} are read"
            raise CardError(told, "file_too_large")
        try:
            # Never unpacks more than the size that was just checked.
            return self._zip.read(entry)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
            raise CardError(f"{path!r} in the ZIP is damaged: {str(error)[:120]}", "invalid_zip") from None


def _check_directory(blob: bytes) -> None:
    """Refuse a directory that is too long before anybody reads it."""
    at = blob.rfind(END, max(0, len(blob) - END_BYTES - MAX_COMMENT_BYTES))
    if at < 0 or at + END_BYTES > len(blob):
        raise CardError("the ZIP has no directory at its end: it was cut off", "invalid_zip")
    if blob[at - LOCATOR_BYTES : at].startswith(LOCATOR):
        raise CardError("the ZIP is of the kind for more than 4 GiB (ZIP64); expected a plain one", "invalid_zip")
    count, size = struct.unpack_from("<HI", blob, at + 10)
    if count > MAX_FILES or size > MAX_FILES * MAX_ENTRY_BYTES:
        raise CardError(f"the ZIP has more than {MAX_FILES:,} files", "zip_bomb")


def _check_entry(entry: zipfile.ZipInfo, path: str) -> None:
    if not is_safe_path(path.rstrip("/")):
        raise CardError(f"the ZIP has a file at {path[:80]!r}, which leads out of its folder", "unsafe_path")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise CardError(f"the ZIP has a link at {path!r}; expected files", "symlink")
    if entry.flag_bits & ENCRYPTED:
        raise CardError("the ZIP is encrypted; expected one without a password", "encrypted_zip")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise CardError(f"{path!r} is packed by a method that isn't read; expected deflate", "invalid_zip")
