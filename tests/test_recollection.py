"""Which memories may be told on a turn: pure, by what was said on its branch, and who heard it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from app.errors import InvalidRequestError
from app.sessions.exchanges import exchanges, last_exchange, mark_of, source_of
from app.sessions.message import Message
from app.sessions.recollection import Question, Recollection, parse_as_of, tell
from app.sessions.session import Session
from app.store.memories import Memories, MemoryRecord
from characters.card import CardData, CharacterCard
from models.memory.ranking import Weights
from models.scene import UserPersona


def message(number: int, role: Any = "user", **fields: Any) -> Message:
    return Message(f"msg_{number}", None, role, fields.pop("content", f"Line {number}."), [], created=number, **fields)


def session_of(messages: Sequence[Message], **fields: Any) -> Session:
    card = CharacterCard(data=CardData(name="Greta"))
    known = {one.id: one for one in messages}
    return Session("sess", "greta", card, UserPersona("Sam"), "", [], known, None, **fields)


def memory_of(*messages: Message, **fields: Any) -> MemoryRecord:
    sources = [source_of(one) for one in messages]
    at = max((one.created for one in messages), default=0.0)
    return MemoryRecord("mem", "Something.", **{"at": at, "sources": sources, **fields})


def may_tell(
    record: MemoryRecord, history: Sequence[Message], *, start: int = 99, whispered: Sequence[str] = (), **fields: Any
) -> bool:
    recollection = Recollection(Memories("1", [record]), "")
    return bool(recollection.usable(session_of(history, **fields), history, start, whispered)[0])


SAID = [message(number, "assistant" if number % 2 else "user") for number in range(6)]


def test_what_was_said_on_the_branch_is_told_and_on_another_is_not() -> None:
    assert may_tell(memory_of(*SAID[:2]), SAID)
    assert not may_tell(memory_of(SAID[0], message(7, "assistant")), SAID)


def test_what_nobody_said_is_told_everywhere() -> None:
    assert may_tell(memory_of(), [])


def test_what_is_in_the_prompt_is_not_told() -> None:
    assert not may_tell(memory_of(*SAID[:2]), SAID, start=0)
    assert may_tell(memory_of(*SAID[:2]), SAID, start=1)
    assert may_tell(memory_of(*SAID[:2]), SAID, start=2)


def test_what_is_disabled_is_not_told() -> None:
    assert not may_tell(memory_of(enabled=False), SAID)


def test_copies_of_a_message_are_remembered_as_it_is() -> None:
    copies = [replace(one, id=f"copy_{one.id}", created=one.created + 100) for one in SAID]
    assert may_tell(memory_of(*SAID[:2]), copies)
    assert mark_of(copies) == mark_of(SAID)


@pytest.mark.parametrize(
    ("as_of", "told"), [("msg_0", False), ("msg_1", True), ("msg_5", True), (0.5, False), (1, True)]
)
def test_as_of_hides_what_came_later(as_of: Any, told: bool) -> None:
    assert may_tell(memory_of(*SAID[:2]), SAID, as_of=as_of) is told


def test_as_of_goes_by_the_order_of_what_was_said_whatever_clocks_say() -> None:
    late = replace(SAID[1], created=1e9)
    history = [SAID[0], late, *SAID[2:]]
    assert may_tell(memory_of(SAID[0], late), history, as_of="msg_3")


def test_as_of_a_message_that_is_gone_tells_nothing_of_later() -> None:
    assert not may_tell(memory_of(at=5.0), SAID, as_of="msg_gone")


def test_as_of_is_a_time_a_date_or_a_message() -> None:
    session = session_of(SAID)
    assert parse_as_of(session, "msg_2") == "msg_2"
    assert parse_as_of(session, "1970-01-02") == parse_as_of(session, 86400.0) == 86400
    assert parse_as_of(session, "1970-01-01T01:00:00+01:00") == 0
    assert parse_as_of(session, None) is None
    with pytest.raises(InvalidRequestError):
        parse_as_of(session, "msg_9")


# Who hears what


def test_what_is_whispered_is_remembered_apart() -> None:
    secret = message(2, content="The key is under the mat.", seen_by=("odo",))
    answer = message(3, "assistant", speaker="odo", seen_by=("odo",))
    groups = exchanges([*SAID[:2], secret, answer, message(4, "assistant", speaker="greta")])
    assert [[one.id for one in group] for group in groups] == [["msg_0", "msg_1"], ["msg_2", "msg_3"], ["msg_4"]]


def test_last_exchange_is_whole_however_many_speak_in_it() -> None:
    among = [message(number, "assistant", speaker=f"s{number % 3}") for number in range(1, 30)]
    whispered = [message(30, seen_by=("odo",)), message(31, "assistant", speaker="odo", seen_by=("odo",))]
    for said in (among, [message(0), *among], [message(0), *among, *whispered], [*among, message(40, "system")], []):
        assert [last_exchange(said)] == (exchanges(said)[-1:] or [[]])


def test_what_is_whispered_is_told_to_nobody_else() -> None:
    secret = message(2, content="The key is under the mat.", seen_by=("odo",))
    aloud = replace(secret, seen_by=())
    assert not may_tell(memory_of(secret), SAID)
    assert not may_tell(memory_of(secret), [*SAID, aloud])


def test_what_was_whispered_to_the_speaker_stands_in_the_prompt_already() -> None:
    secret = message(2, content="The key is under the mat.", seen_by=("odo",))
    assert not may_tell(memory_of(secret), [*SAID, secret], whispered=["msg_2"])
    # The older ones have no place there.
    assert may_tell(memory_of(secret), [*SAID, secret])


# Vectors


def test_vectors_of_another_length_are_none_of_this_models() -> None:
    known = [MemoryRecord(f"mem_{width}", f"Line {width}.", embedder="model") for width in (2, 3)]
    vectors = {f"mem_{width}": np.eye(width, dtype=np.float32)[0] for width in (2, 3)}
    recollection = Recollection(Memories("1", known, vectors), "model")
    for width in (2, 3):
        question = Question("Line", np.eye(width, dtype=np.float32)[0])
        found = recollection.ask(question, recollection.all_of(), Weights(), most=3)
        assert [record.id for record, _ in found] == [f"mem_{width}"]
    longer = Question("Line", np.eye(4, dtype=np.float32)[0])
    assert recollection.ask(longer, recollection.all_of(), Weights(), most=3) == []


# Lines


@pytest.mark.parametrize(
    ("at", "line"),
    [
        (datetime(2026, 5, 9, 8, tzinfo=UTC), "- earlier: It rained."),
        (datetime(2026, 5, 8, 23, tzinfo=UTC), "- yesterday: It rained."),
        (datetime(2026, 5, 1, tzinfo=UTC), "- 1 May 2026: It rained."),
        (datetime(2030, 1, 1, tzinfo=UTC), "- earlier: It rained."),
    ],
)
def test_memory_is_told_with_its_time(at: datetime, line: str) -> None:
    assert tell(MemoryRecord("mem", "It rained.", at=at.timestamp()), datetime(2026, 5, 9, 12, tzinfo=UTC)) == line
