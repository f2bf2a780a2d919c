"""Chats in files: read whatever program wrote them, and written so that nothing is lost."""

import io
import zipfile
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from characters.card import CardError
from characters.chats.chat import Chat, Line, Said, build_chat
from characters.chats.dates import parse_date, write_date
from characters.chats.limits import MAX_MESSAGES
from characters.chats.reading import read_chat
from characters.chats.writing import Format, find_tips, write_branches, write_chat
from tests.chats import HEADER, files, jsonl, parsed, reply, user

MIXED = jsonl(HEADER, reply("Come in."), user(), reply("One.", "Two.", "Three.", shown=1))


def shown(chat: Chat) -> list[tuple[str, str]]:
    return [(chat.messages[place].role, chat.messages[place].text) for place in chat.path(chat.tip)]


def zipped(**inside: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, blob in inside.items():
            archive.writestr(f"{name}.jsonl", blob)
    return out.getvalue()


def unzipped(blob: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(blob)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


# SillyTavern


@given(files)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_sillytavern_file_comes_back_as_it_was(lines: list[Any]) -> None:
    chat = read_chat(jsonl(*lines))
    assert chat.warnings == ()
    assert parsed(write_chat(chat, "sillytavern")) == lines


def test_sillytavern_file_is_a_tree_with_its_swipes() -> None:
    chat = read_chat(MIXED)
    assert (chat.user, chat.character) == ("Sam", "Lyra")
    assert shown(chat) == [("assistant", "Come in."), ("user", "Hello."), ("assistant", "Two.")]
    assert [(said.text, said.parent) for said in chat.messages[2:]] == [("One.", 1), ("Two.", 1), ("Three.", 1)]
    assert chat.messages[1].time == 1727485356.123


def test_hidden_message_and_narrator_are_no_characters() -> None:
    narrated = reply("Night falls.", extra={"type": "narrator"})
    chat = read_chat(jsonl(HEADER, user(is_system=True), narrated))
    assert [(said.role, said.hidden) for said in chat.messages] == [("user", True), ("system", False)]


def test_text_that_is_not_its_swipe_counts() -> None:
    chat = read_chat(jsonl(HEADER, reply("One.", "Two.", shown=1, mes="Edited.")))
    assert [said.text for said in chat.messages] == ["One.", "Edited."]
    assert "the text was kept" in chat.warnings[0]


@pytest.mark.parametrize("swipe_id", [None, -1, 7, "one", True])
def test_swipe_id_that_is_none_finds_its_text(swipe_id: Any) -> None:
    chat = read_chat(jsonl(HEADER, reply("One.", "Two.", shown=1, swipe_id=swipe_id)))
    assert shown(chat) == [("assistant", "Two.")]
    assert len(chat.messages) == 2


def test_broken_lines_are_left_out_by_their_numbers() -> None:
    blob = jsonl(HEADER, user("One."), user("Two."), user("Three."), user("Four."))
    lines = blob.split(b"\n")
    chat = read_chat(b"\n".join([*lines[:2], b'{"mes": "cut o', *lines[2:4], b"[1]", lines[4]]))
    assert [text for _, text in shown(chat)] == ["One.", "Two.", "Three.", "Four."]
    assert any(warning.startswith("line 3: ") for warning in chat.warnings)
    assert any(warning.startswith("line 6: ") for warning in chat.warnings)


def test_header_may_be_missing() -> None:
    chat = read_chat(jsonl(user(), reply("One.")))
    assert shown(chat) == [("user", "Hello."), ("assistant", "One.")]


def test_other_swipe_than_was_shown_is_written_with_what_is_its() -> None:
    chat = read_chat(MIXED)
    other = Chat(chat.messages, 4, chat.user, chat.character, chat.beside)
    line = parsed(write_chat(other, "sillytavern"))[-1]
    assert (line["mes"], line["swipe_id"], line["extra"]) == ("Three.", 2, {"model": "m2"})


def test_what_is_too_large_beside_a_message_is_left_out() -> None:
    chat = read_chat(jsonl(HEADER, user(extra={"image": "A" * 100_000})))
    assert "`extra` is too large" in chat.warnings[0]
    assert "extra" not in parsed(write_chat(chat, "sillytavern"))[1]


# Branches


def test_branches_of_a_zip_are_joined_where_they_part() -> None:
    branch = jsonl(HEADER | {"chat_metadata": {"main_chat": "main"}}, reply("Come in."), user("Bye."))
    chat = read_chat(zipped(branch=branch, main=MIXED))
    assert [said.text for said in chat.messages] == ["Come in.", "Hello.", "One.", "Two.", "Three.", "Bye."]
    assert chat.messages[5].parent == 0
    assert shown(chat)[-1] == ("assistant", "Two.")
    assert chat.beside == HEADER


@pytest.mark.parametrize("format", ["sillytavern", "openai"])
def test_all_branches_come_back_from_a_zip(format: Format) -> None:
    chat = read_chat(zipped(main=MIXED, branch=jsonl(HEADER, reply("Come in."), user("Bye."), reply("See you."))))
    back = read_chat(write_branches(chat, format, "lyra"))
    assert {said.text for said in back.messages} == {said.text for said in chat.messages}
    assert shown(back) == shown(chat)


def test_files_of_branches_name_each_other() -> None:
    chat = read_chat(zipped(main=MIXED, branch=jsonl(HEADER, reply("Come in."), user("Bye."), reply("Ah."))))
    inside = unzipped(write_branches(chat, "sillytavern", "lyra"))
    assert set(inside) == {"lyra.jsonl", "lyra - Branch #1.jsonl"}
    assert parsed(inside["lyra.jsonl"])[1]["extra"]["branches"] == ["lyra - Branch #1"]
    assert parsed(inside["lyra - Branch #1.jsonl"])[0]["chat_metadata"]["main_chat"] == "lyra"


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["user", "assistant"])), max_size=30), st.data())
def test_branches_hold_every_message(drawn: list[tuple[int, Any]], data: st.DataObject) -> None:
    messages = [Said("assistant", "root")]
    messages += [Said(role, str(place), parent=parent % place) for place, (parent, role) in enumerate(drawn, 1)]
    chat = Chat(messages, data.draw(st.integers(0, len(messages) - 1)))
    back = read_chat(write_branches(chat, "sillytavern", "x"))
    assert sorted(said.text for said in back.messages) == sorted(said.text for said in messages)
    assert shown(back) == shown(chat)
    assert len(find_tips(chat, swipes=False)) >= len(find_tips(chat))


def test_file_in_a_zip_that_is_no_chat_is_left_out_with_a_warning() -> None:
    chat = read_chat(zipped(main=MIXED, other=b"no chat at all"))
    assert chat.warnings[0].startswith("other.jsonl: ")


# Others


@pytest.mark.parametrize("wrapped", ["list", "object", "lines", "conversations"])
def test_openai_messages_are_read_in_every_wrapping(wrapped: str) -> None:
    said = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": [{"type": "text", "text": "Hi."}]}]
    said.append({"role": "assistant", "content": "Hello."})
    blob = {
        "list": orjson.dumps(said),
        "object": orjson.dumps({"messages": said, "model": "x"}),
        "lines": jsonl(*said),
        "conversations": jsonl({"messages": said}, {"messages": [*said[:2], {"role": "assistant", "content": "Ho."}]}),
    }[wrapped]
    chat = read_chat(blob)
    assert shown(chat) == [("system", "Be kind."), ("user", "Hi."), ("assistant", "Hello.")]
    assert len(chat.messages) == (4 if wrapped == "conversations" else 3)


def test_openai_messages_come_back_as_they_were() -> None:
    said = [{"role": "user", "content": "Hi.", "name": "Sam"}, {"role": "assistant", "content": "Hello."}]
    blob = write_chat(read_chat(orjson.dumps(said)), "openai")
    assert orjson.loads(blob) == {"messages": said}


def test_tools_and_pictures_of_openai_messages_are_told() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    said = [
        {"role": "tool", "content": "{}"},
        {"role": "User", "content": [picture, "Look."]},
        {"role": 7, "content": 1},
    ]
    chat = read_chat(orjson.dumps(said))
    assert shown(chat) == [("user", "Look."), ("user", "1")]
    assert len(chat.warnings) == 4


@pytest.mark.parametrize(
    "log",
    [
        {"data": [["<|BEGIN-VISIBLE-CHAT|>", "Hi."], ["A & B?", "Yes."]], "data_visible": [["", "x"]]},
        {"internal": [["", "Hi."], ["A & B?", "Yes."]], "visible": [["", "x"]], "metadata": {}},
        {"data_visible": [["", "Hi."], ["A &amp; B?", "Yes."]]},
        {"messages": [{"msg": "Hi."}, {"msg": "A & B?", "userId": "u"}, {"msg": "Yes.", "characterId": "c"}]},
        {
            "histories": {
                "histories": [
                    {
                        "msgs": [
                            {"src": {"is_human": False}, "text": "Hi."},
                            {"src": {"is_human": True}, "text": "A & B?"},
                            {"src": {"is_human": False, "name": "Bo"}, "text": "Yes."},
                        ]
                    }
                ]
            }
        },
    ],
)
def test_logs_of_other_programs_are_read(log: Any) -> None:
    chat = read_chat(orjson.dumps(log))
    assert shown(chat) == [("assistant", "Hi."), ("user", "A & B?"), ("assistant", "Yes.")]
    assert chat.warnings == ()


def test_versions_and_retries_are_swipes() -> None:
    versions = [{"content": "No."}, {"content": "Yes.", "timestamp": "Feb 01, 2025 12:03"}]
    ours = {"assistant_0": {"versions": versions, "current_version_index": 1}}
    textgen = read_chat(orjson.dumps({"internal": [["Well?", "Yes."]], "visible": [], "metadata": ours}))
    agnai = read_chat(
        orjson.dumps({"messages": [{"msg": "Well?", "userId": "u"}, {"msg": "Yes.", "retries": ["No."]}]})
    )
    for chat in (textgen, agnai):
        assert shown(chat) == [("user", "Well?"), ("assistant", "Yes.")]
        assert sorted(said.text for said in chat.messages if said.parent == 0) == ["No.", "Yes."]


def test_histories_of_character_ai_are_branches_of_which_the_latest_is_shown() -> None:
    def history(text: str, created: str) -> dict[str, Any]:
        greeting = {"src": {"is_human": False}, "text": "Hi.", "created": "2023-01-01T00:00:00Z"}
        return {"msgs": [greeting, {"src": {"is_human": True}, "text": text, "created": created}]}

    told = [history("Old.", "2023-01-02T00:00:00Z"), history("New.", "2023-02-02T00:00:00Z"), 7]
    chat = read_chat(orjson.dumps({"histories": told}))
    assert shown(chat) == [("assistant", "Hi."), ("user", "New.")]
    assert len(chat.messages) == 3
    assert len(chat.warnings) == 1


# Dates


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1727485356123, 1727485356.123),
        ("1727485356123", 1727485356.123),
        (1727485356, 1727485356.0),
        ("2024-09-28T01:02:36.123Z", 1727485356.123),
        ("2024-9-28@01h02m36s", 1727485356.0),
        ("2024-9-28 @1h 2m 36s 123ms", 1727485356.123),
        ("September 28, 2024 1:02am", 1727485320.0),
        ("Sep 28, 2024 13:02", 1727528520.0),
        ("yesterday", None),
        ("99999-99-99@99h99m99s", None),
        ("9999999999999999999", None),
        (float("inf"), None),
        (True, None),
        ([], None),
        ("1850-01-01", None),
    ],
)
def test_dates_are_read_in_all_their_formats(value: Any, seconds: float | None) -> None:
    assert parse_date(value) == seconds


def test_dates_are_written_as_they_are_read() -> None:
    assert parse_date(write_date(1727485356.123)) == 1727485356.123


# No chats, and too much of one


@pytest.mark.parametrize(
    ("blob", "code"),
    [
        (b"", "invalid_json"),
        (b"Hello there.", "invalid_json"),
        (b"\x89PNG\r\n\x1a\n", "not_utf8"),
        (b"7", "unknown_chat"),
        (b'{"spec": "chara_card_v2", "data": {}}', "unknown_chat"),
        (b"[]", "unknown_chat"),
        (b'{"messages": []}', "empty_chat"),
        (jsonl(HEADER), "empty_chat"),
        (b'{"mes": "one"}\n{"mes": "tw\n{"mes"\n{', "invalid_json"),
        (b"PK\3\4nothing", "invalid_zip"),
    ],
)
def test_file_that_is_no_chat_is_refused(blob: bytes, code: str) -> None:
    with pytest.raises(CardError) as refusal:
        read_chat(blob)
    assert refusal.value.code == code


@given(st.binary(max_size=80) | st.text(max_size=60).map(str.encode))
def test_no_file_makes_the_reader_fail_otherwise(blob: bytes) -> None:
    for candidate in (blob, MIXED[: len(blob) * 7] + blob):
        with suppress(CardError):
            assert read_chat(candidate).messages


def test_ten_thousand_swipes_are_read() -> None:
    swipes = [f"Swipe {number}." for number in range(10_000)]
    chat = read_chat(jsonl(HEADER, user(), reply(*swipes, shown=9999)))
    assert len(chat.messages) == 10_001
    assert shown(chat)[-1] == ("assistant", "Swipe 9999.")


def test_more_messages_than_a_session_holds_are_refused() -> None:
    lines = [Line([Said("user", "x")])] * MAX_MESSAGES
    assert len(build_chat([lines]).messages) == MAX_MESSAGES
    with pytest.raises(CardError, match="more than 20,000"):
        build_chat([[*lines, lines[0]]])
