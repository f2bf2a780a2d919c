"""A text as a file: the same words whatever its line ends, any part of it, and never the whole in memory."""

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.synthesis import manuscript
from models.synthesis.manuscript import PART_BYTES, Manuscript, UnreadableText, fold_text, is_named

# Texts whose parts end in the middle of everything.
pieces = st.sampled_from(["Lyra", " ", "\n\n", "\u3000", "林", "🐟", "é", "e\u0301", "a.b", "\t", "\u2028"])
texts = st.lists(pieces, max_size=30).map("".join)


def fold(folder: Path, text: str | bytes) -> Manuscript:
    (folder / "sent").write_bytes(text.encode() if isinstance(text, str) else text)
    return fold_text(folder / "sent", folder / "folded")


@given(texts, st.integers(1, 9))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_white_space_is_folded_wherever_parts_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, part_bytes: int
) -> None:
    monkeypatch.setattr(manuscript, "PART_BYTES", part_bytes)
    expected = " ".join(text.split())
    if not expected:
        with pytest.raises(UnreadableText, match="empty"):
            fold(tmp_path, text)
        return
    folded = fold(tmp_path, text)
    assert (tmp_path / "folded").read_text() == expected
    assert folded.size == len(expected.encode())
    assert folded.sample == expected
    read, at = "", 0
    while at < folded.size:
        part = folded.part(at, 3)
        read, at = read + part, at + len(part.encode())
    assert read == expected
    monkeypatch.setattr(manuscript, "PART_BYTES", PART_BYTES)
    assert folded.names("Lyra") == is_named("Lyra", expected)


def test_digest_is_of_the_words(tmp_path: Path) -> None:
    one = fold(tmp_path, "Lyra came\r\nhome. \n").digest
    assert fold(tmp_path, b"\xef\xbb\xbf  Lyra came home.").digest == one
    assert fold(tmp_path, "Lyra came home").digest != one


@pytest.mark.parametrize("name", ["Lyra", "lyra", "Tamm of nowhere", "林黛玉"])
@pytest.mark.parametrize("place", [0, 5, PART_BYTES - 3, PART_BYTES, 3 * PART_BYTES + 1])
def test_name_is_found_where_parts_meet(tmp_path: Path, name: str, place: int) -> None:
    filler = "word " * (place // 5) + "." * (place % 5) + " "
    assert fold(tmp_path, f"x {filler}Lyra Tamm met 林黛玉. And so on.").names(name)


@pytest.mark.parametrize("length", range(PART_BYTES - 6, PART_BYTES + 2))
def test_word_that_a_part_cuts_is_no_name(tmp_path: Path, length: int) -> None:
    filler = ("word " * PART_BYTES)[:length].rstrip() + " "
    assert not fold(tmp_path, f"{filler}Lyrann met Aylyra. " + filler).names("Lyra")


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "empty_text"),
        (b"\xef\xbb\xbf \n", "empty_text"),
        ("Zoë".encode("latin-1"), "not_utf8"),
        ("Zoë".encode()[:-1], "not_utf8"),
        ("Lyra".encode("utf-16"), "not_utf8"),
        (b"Lyra\0", "invalid_text"),
        (b"x" * PART_BYTES + b"\xff", "not_utf8"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, raw: bytes, code: str) -> None:
    with pytest.raises(UnreadableText) as caught:
        fold(tmp_path, raw)
    assert caught.value.code == code


def test_long_text_is_never_held_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(b"Lyra  went\r\nhome. " * 200_000)
    tracemalloc.start()
    try:
        folded = fold_text(tmp_path / "sent", tmp_path / "folded")
        assert not folded.names("nobody")
        assert len(folded.part(folded.size // 2, 1000)) == 1000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert folded.size == len("Lyra went home. ") * 200_000 - 1
    assert len(folded.sample) < 20_000
    assert peak < 2 << 20
