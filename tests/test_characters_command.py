"""Characters from files to a server and back, from the command line."""

import socket
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from anyio import to_thread
from rich.progress import Progress

from app.__main__ import main
from characters.formats.reading import read_card
from characters.profile import LABELS
from models.engine import EngineError
from tests.cards import PORTRAIT, charx, dumps, encode, png, text, v2, v3, zipped
from tests.conftest import Server, free_port
from tests.live import Live
from tests.synthesis import say, write
from tests.test_cli import run
from tests.test_reading_api import TEXT, VERSIONS


def test_import_brings_files_folders_and_zips(client: httpx.Client, server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "cards" / "more"
    folder.mkdir(parents=True)
    (folder / "ada.json").write_bytes(dumps(v2(name="Ada of the folder", tags="a, b")))
    (tmp_path / "ida.png").write_bytes(png(text("chara", encode(v2(name="Ida of the PNG")))))
    many = {"eve.json": dumps(v2(name="Eve of the ZIP")), "cat.png": PORTRAIT}
    (tmp_path / "many.zip").write_bytes(zipped(many))
    paths = [str(tmp_path / name) for name in ("cards", "ida.png", "many.zip", "missing.json")]
    answer = run("characters", "import", *paths, "--url", server.url)
    assert answer.returncode == 1
    lines = answer.stdout.splitlines()
    assert "ada.json: ada-of-the-folder" in lines
    assert "  `tags` was one text where a list belongs" in lines
    assert "ida.png: ida-of-the-png" in lines
    assert "many.zip: eve.json: eve-of-the-zip" in lines
    assert any(line.startswith("many.zip: cat.png: this is a PNG without a character") for line in lines)
    assert any("missing.json: No such file" in line for line in lines)
    assert lines[-1] == "3 imported, 2 not"
    ida = client.get("/characters/ida-of-the-png")
    assert ida.json()["data"]["description"] == "A baker."
    assert client.get("/characters/ida-of-the-png/avatar").content == PORTRAIT


def test_import_takes_lorebooks_to_the_lorebooks(client: httpx.Client, server: Server, tmp_path: Path) -> None:
    book = {"name": "Book of the command line", "entries": {"0": {"key": ["a"], "content": "b"}}}
    (tmp_path / "book.json").write_bytes(dumps(book))
    answer = run("characters", "import", str(tmp_path / "book.json"), "--url", server.url)
    assert (answer.returncode, answer.stdout.splitlines()[0]) == (0, "book.json: lorebook book-of-the-command-line")
    assert client.get("/lorebooks/book-of-the-command-line").status_code == 200


def test_import_into_something_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "ida.json").write_bytes(dumps(v2()))
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        answer = run("characters", "import", str(tmp_path), "--url", f"http://127.0.0.1:{other.server_port}")
        other.shutdown()
    assert answer.returncode == 1
    assert "isn't an OpenCharacter server" in answer.stdout
    assert "Traceback" not in answer.stderr


def test_export_writes_what_import_reads(client: httpx.Client, server: Server, tmp_path: Path) -> None:
    for kind, suffix in (("json-v2", "json"), ("png", "png"), ("charx", "charx"), ("yaml", "yaml")):
        answer = run("characters", "export", "lyra", "--format", kind, "--to", str(tmp_path), "--url", server.url)
        assert (answer.returncode, answer.stdout) == (0, f"{tmp_path}/lyra.{suffix}\n")
        card = read_card((tmp_path / f"lyra.{suffix}").read_bytes()).card
        shown = client.get("/characters/lyra").json()
        assert card.profile is not None
        assert (card.profile.model_dump(), card.persona) == (shown["profile"], shown["persona"])
        assert card.data.mes_example == shown["data"]["mes_example"]


def test_export_never_writes_over_a_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "lyra.png").write_bytes(b"mine")
    answer = run("characters", "export", "lyra", "nobody", "--to", str(tmp_path), "--url", server.url)
    assert answer.returncode == 1
    assert "File exists" in answer.stdout
    assert "there is no character 'nobody'" in answer.stdout
    assert (tmp_path / "lyra.png").read_bytes() == b"mine"


def test_import_without_a_server_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "ida.json").write_bytes(dumps(v2()))
    answer = run("characters", "import", str(tmp_path), "--url", f"http://127.0.0.1:{free_port()}")
    assert answer.returncode == 1
    assert "make serve" in answer.stdout
    assert "Traceback" not in answer.stderr


async def command(live: Live, *arguments: str) -> int:
    """`python -m app characters …` against a server in this process."""
    return await to_thread.run_sync(main, ["characters", *arguments, "--url", str(live.client.base_url)])


@pytest.mark.anyio
async def test_progress_counts_the_files_in_zips(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[float, float | None]] = []

    class Noting(Progress):
        def stop(self) -> None:
            seen.extend((task.completed, task.total) for task in self.tasks)
            super().stop()

    monkeypatch.setattr("app.commands.characters.Progress", Noting)
    (tmp_path / "many.zip").write_bytes(zipped({f"{number}.json": dumps(v2()) for number in range(5)}))
    (tmp_path / "one.json").write_bytes(dumps(v2()))
    assert await command(live, "import", str(tmp_path), str(tmp_path / "missing.json")) == 1
    assert seen[0] == (7, 7)
    seen.clear()
    folder = tmp_path / "nested"
    folder.mkdir()
    deepest = zipped({f"{number}.json": dumps(v2()) for number in range(4)})
    inner = {"a.json": dumps(v2()), "deep.zip": zipped({"deepest.zip": deepest, "b.json": b"{"}), "bad.zip": b"PK\3\4"}
    (folder / "outer.zip").write_bytes(zipped({**inner, "card.charx": charx(v3())}))
    assert await command(live, "import", str(folder)) == 1
    assert seen[0] == (8, 8)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("outer.zip: deep.zip: deepest.zip: 3.json: ida") for line in lines)
    assert any(line.startswith("outer.zip: deep.zip: b.json: this isn't valid JSON") for line in lines)
    assert any(line.startswith("outer.zip: bad.zip: the ZIP has no directory") for line in lines)
    assert lines[-1] == "6 imported, 2 not"


def test_server_that_is_slow_costs_a_file_and_no_totals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("app.commands.characters.PATIENCE_S", 0.1)
    for name in ("ada.json", "ida.json"):
        (tmp_path / name).write_bytes(dumps(v2()))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert main(["characters", "import", str(tmp_path), "--url", url]) == 1
        assert main(["characters", "export", "lyra", "--url", url]) == 1
    ada, ida, totals, export = filter(None, capsys.readouterr().out.splitlines())
    assert "ada.json: the server took longer than 0.1 s" in ada
    assert (ida.startswith("ida.json: "), totals) == (True, "0 imported, 2 not")
    assert "took longer" in export


@pytest.mark.anyio
async def test_synthesis_prints_the_profile_then_the_id(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    live.engine.max_model_len = 4096
    say(live, write(name="Odo"))
    assert await command(live, "synthesize", "A baker [sic]") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["Name: Odo", *(f"{label}: x" for label in list(LABELS.values())[1:]), "odo"]
    assert (await live.client.get("/characters/odo")).json()["persona"] == "A baker [sic]"


@pytest.mark.anyio
async def test_synthesis_that_fails_says_why(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    live.engine.max_model_len = 4096
    assert await command(live, "synthesize", " ") == 1
    say(live, write(name="Odo"))
    live.engine.script.fail_after, live.engine.script.failure = 2, EngineError("scripted")
    assert await command(live, "synthesize", "A baker") == 1
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[-1]) == ("`persona` is empty", "scripted")


@pytest.mark.anyio
async def test_text_is_read_from_a_file_and_read_on(
    live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live.engine.max_model_len = 4096
    file = tmp_path / "chapter.txt"
    file.write_text(TEXT)
    say(live, *VERSIONS[:2], "{}")
    assert await command(live, "synthesize", "--text", str(file), "--name", "Lyra") == 1
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[1]) == ("piece 0 of 3", "Age: 40")
    assert lines[-2:] == [
        "the model wrote no complete profile: it wasn't saved",
        "lyra-2 has what was read so far: the same command goes on from there",
    ]
    say(live, VERSIONS[2])
    assert await command(live, "synthesize", "--text", str(file), "--character", "lyra-2") == 0
    assert capsys.readouterr().out.splitlines() == ["piece 2 of 3", "Goal: to stay", "piece 3 of 3", "lyra-2"]


@pytest.mark.anyio
async def test_text_that_cannot_be_read_is_told(live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "chapter.txt"
    assert await command(live, "synthesize", "--text", str(file), "--name", "Lyra") == 1
    file.write_bytes(b"Zo\xeb")
    assert await command(live, "synthesize", "--text", str(file), "--name", "Zo") == 1
    assert await command(live, "synthesize", "--text", str(file)) == 1
    missing, latin, nobody = capsys.readouterr().out.splitlines()
    assert missing == f"{file}: No such file or directory"
    assert "isn't in UTF-8" in latin
    assert "--character" in nobody
    with pytest.raises(SystemExit):
        main(["characters", "synthesize", "A baker", "--text", str(file)])
