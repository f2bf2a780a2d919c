"""Transcripts that clients keep, against the tree of a session: what is new of each, and where it goes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.sessions.ids import new_id
from app.sessions.message import Message
from app.sessions.plans import Plan
from app.sessions.reconciliation import Aside, plan_transcript
from app.sessions.session import Cut, Session
from app.sessions.window import find_cut
from models.examples import Line
from tests.conversations import new_session, spoken

GREETING = "Good morning, Mira."


def encode(text: str) -> list[int]:
    return [ord(char) for char in text]


def lines(*texts: str, first: str = "user") -> list[Line]:
    """Texts by turns."""
    roles = ("user", "assistant") if first == "user" else ("assistant", "user")
    return [Line("user" if roles[number % 2] == "user" else "assistant", text) for number, text in enumerate(texts)]


def plan(session: Session, said: Sequence[Line], *, whole: bool = False) -> Plan:
    return plan_transcript(session, said, encode, whole=whole)


def answer(session: Session, said: Sequence[Line], reply: str, *, whole: bool = False) -> Session:
    """The session after a turn."""
    taken = plan(session, said, whole=whole)
    text = taken.prefill + reply
    written = Message(new_id("msg"), taken.parent, "assistant", text, [*taken.prefill_ids, *encode(reply)], "stop")
    return session.add([*taken.added, written], tip=written.id, window=None)


def silent() -> Session:
    return replace(new_session(), messages={}, tip=None, version=1)


def chat(*texts: str) -> Session:
    """A session in which that was said, by turns, the user first."""
    session = silent()
    for number in range(0, len(texts), 2):
        session = answer(session, lines(*texts[: number + 1]), texts[number + 1])
    return session


def added(session: Session, said: Sequence[Line], *, whole: bool = False) -> tuple[str, list[str]]:
    """What is written below what, by their texts."""
    taken = plan(session, said, whole=whole)
    parent = taken.added[0].parent if taken.added else taken.parent
    return session.messages[parent].content if parent else "", [message.content for message in taken.added]


# Cuts


def test_transcript_that_says_otherwise_before_the_cut_goes_on_behind_it() -> None:
    session = chat("One.", "Two.", "Three.", "Four.", "Five.", "Six.")
    session = replace(session, cut=Cut(session.branch()[2].id, "They counted."))
    taken = plan(session, lines("Uno.", "Two.", "Three.", "Four.", "Five.", "Six.", "Seven."))
    assert [message.content for message in taken.added][:3] == ["Uno.", "Two.", "Three."]
    assert find_cut(session, session.cut, taken.added) == 2


def test_what_was_said_twice_is_no_copy_of_either() -> None:
    session = chat("One.", "Two.", "Yes.", "Four.", "Yes.", "Six.")
    session = replace(session, cut=Cut(session.branch()[2].id, "They counted."))
    taken = plan(session, lines("Uno.", "Two.", "Yes.", "Four.", "Yes.", "Six.", "Seven."))
    assert find_cut(session, session.cut, taken.added) is None


def test_line_that_is_said_again_is_no_copy_of_the_one_before() -> None:
    session = chat("One.", "Two.", "Three.", "Four.")
    session = replace(session, cut=Cut(session.branch()[0].id))
    taken = plan(session, lines("One.", "Two.", "Three.", "Other.", "One."))
    assert find_cut(session, session.cut, taken.added) is None


# Whole transcripts


def test_grown_transcript_adds_its_last_message() -> None:
    session = chat("One.", "Two.", "Three.", "Four.")
    assert added(session, lines("One.", "Two.", "Three.", "Four.", "Five.")) == ("Four.", ["Five."])
    assert len(session.messages) == 4


def test_transcript_without_its_last_reply_adds_nothing() -> None:
    session = chat("One.", "Two.", "Three.", "Four.")
    assert added(session, lines("One.", "Two.", "Three.")) == ("Three.", [])
    assert plan(session, lines("One.", "Two.", "Three.")).trigger == "regenerate"


def test_edited_message_and_what_follows_it_are_written_beside() -> None:
    session = chat("One.", "Two.", "Three.", "Four.", "Five.", "Six.")
    edited = lines("One.", "Two.", "Three!", "Four.", "Five.", "Six.", "Seven.")
    assert added(session, edited) == ("Two.", ["Three!", "Four.", "Five.", "Six.", "Seven."])
    after = answer(session, edited, "Eight.")
    assert spoken(after) == ["One.", "Two.", "Three!", "Four.", "Five.", "Six.", "Seven.", "Eight."]
    assert set(session.messages) < set(after.messages)


def test_what_follows_an_edited_message_keeps_its_ids_of_tokens() -> None:
    session = chat("One.", "Two.", "Three.", "Four.")
    ids = session.branch()[3].token_ids
    copies = plan(session, lines("One.", "Two.", "Three!", "Four.", "Five.")).added
    assert copies[1].token_ids is ids
    assert copies[1].id != session.branch()[3].id


def test_copied_reply_is_none_that_its_turn_wrote() -> None:
    session = chat("One.", "Two.", "Three.", "Four.")
    last = replace(session.branch()[-1], turn_id="turn_1")
    session = replace(session, messages={**session.messages, last.id: last})
    after = answer(session, lines("One!", "Two.", "Three.", "Four.", "Five."), "Six.")
    assert [message.id for message in after.written_by("turn_1")] == [last.id]


def test_transcript_that_goes_back_to_a_swipe_goes_on_from_it() -> None:
    session = chat("One.", "Two.")
    session = answer(session, lines("One."), "Two!", whole=True)
    assert spoken(session) == ["One.", "Two!"]
    assert added(session, lines("One.", "Two.", "Three.")) == ("Two.", ["Three."])


def test_transcript_that_matches_nothing_is_a_branch_of_its_own() -> None:
    session = chat("One.", "Two.", "Three.", "Four.")
    after = answer(session, lines("Uno.", "Due.", "Tre."), "Quattro.")
    assert spoken(after) == ["Uno.", "Due.", "Tre.", "Quattro."]
    assert len(after.messages) == 8
    assert added(after, lines("One.", "Two.", "Three.", "Four.", "Five.")) == ("Four.", ["Five."])


@pytest.mark.parametrize("end", ["\r\n", " ", "\n\n", "\t"])
def test_white_space_at_the_ends_tells_nothing_apart(end: str) -> None:
    session = chat("One\nand a half.", " Two. ")
    assert added(session, lines(f"One\r\nand a half.{end}", f"{end}Two.", "Three.")) == (" Two. ", ["Three."])


def test_same_message_under_two_equal_replies_is_found() -> None:
    session = answer(chat("One.", "Two."), lines("One."), "Two.", whole=True)
    older, newer = (message for message in session.messages.values() if message.role == "assistant")
    session = replace(session, tip=older.id)
    assert plan(session, lines("One.", "Two.", "Three.")).added[0].parent == older.id
    session = answer(replace(session, tip=newer.id), lines("One.", "Two.", "Three."), "Four.")
    session = replace(session, tip=older.id)
    assert added(session, lines("One.", "Two.", "Three.", "Four.", "Five.")) == ("Four.", ["Five."])


def test_instructions_in_the_tree_are_passed_over() -> None:
    session = chat("One.", "Two.")
    lore = Message(new_id("msg"), session.tip, "system", "The moon is cheese.", encode("The moon"))
    said = Message(new_id("msg"), lore.id, "user", "Three.", encode("Three."))
    reply = Message(new_id("msg"), said.id, "assistant", "Four.", encode("Four."))
    session = session.add([lore, said, reply], tip=reply.id, window=None)
    assert added(session, lines("One.", "Two.", "Three.", "Four.", "Five.")) == ("Four.", ["Five."])
    assert added(session, lines("One.", "Two.", "Three.")) == ("Three.", [])


# Greetings


def test_greeting_is_matched_where_the_client_sends_it() -> None:
    session = answer(new_session(), lines(GREETING, "One.", first="assistant"), "Two.")
    assert added(session, lines(GREETING, "One.", "Two.", "Three.", first="assistant")) == ("Two.", ["Three."])


def test_greeting_is_passed_over_where_the_client_leaves_it_out() -> None:
    session = answer(new_session(), lines("One."), "Two.", whole=True)
    assert spoken(session) == [GREETING, "One.", "Two."]
    assert added(session, lines("One.", "Two.", "Three.")) == ("Two.", ["Three."])
    assert added(session, lines("Uno.", "Two.", "Three.")) == (GREETING, ["Uno.", "Two.", "Three."])


def test_greeting_that_the_session_never_had_is_passed_over() -> None:
    session = chat("One.", "Two.")
    assert added(session, lines(GREETING, "One.", "Two.", "Three.", first="assistant")) == ("Two.", ["Three."])


def test_another_greeting_is_a_branch_of_its_own() -> None:
    session = answer(new_session(), lines(GREETING, "One.", first="assistant"), "Two.")
    assert added(session, lines("You again?", "One.", first="assistant")) == ("", ["You again?", "One."])


def test_reply_that_begins_another_branch_is_no_greeting() -> None:
    session = answer(chat("One.", "Two."), lines("Two!", "Three.", first="assistant"), "Four.")
    assert added(session, lines("Uno."), whole=True) == ("", ["Uno."])


# Transcripts whose beginning the client has dropped


def test_dropped_beginning_is_an_extension() -> None:
    session = chat(*"abcdefgh")
    for kept in range(1, 7):
        window = lines(*"abcdefgh"[-kept:], "i", first="user" if kept % 2 == 0 else "assistant")
        assert added(session, window) == ("h", ["i"]), kept


def test_dropped_beginning_can_be_swiped() -> None:
    session = chat(*"abcdefgh")
    assert added(session, lines(*"efg")) == ("g", [])
    assert added(session, lines(*"fg", first="assistant")) == ("g", [])


def test_dropped_beginning_can_be_edited() -> None:
    session = chat(*"abcdefgh")
    assert added(session, lines(*"defGhi", first="assistant")) == ("f", ["G", "h", "i"])


def test_two_lines_in_the_middle_are_no_dropped_beginning() -> None:
    session = chat("Hello.", "Hm.", "Yes.", "Good.", "Bye.", "Bye.")
    assert added(session, lines("Yes.", "Good.", "Why?")) == ("", ["Yes.", "Good.", "Why?"])


# The newest message alone


def test_newest_message_alone_is_a_turn() -> None:
    session = chat("One.", "Two.", "Three.", "Four.")
    assert added(session, lines("Five.")) == ("Four.", ["Five."])
    assert added(session, lines("One.")) == ("Four.", ["One."])


def test_only_message_again_asks_for_another_reply() -> None:
    assert added(chat("One.", "Two."), lines("One.")) == ("One.", [])
    assert added(chat("One.", "Two."), lines("Uno.")) == ("Two.", ["Uno."])


def test_front_ends_message_alone_is_a_whole_transcript() -> None:
    session = chat("One.", "Two.", "Three.", "Four.")
    assert added(session, lines("One."), whole=True) == ("One.", [])
    assert added(session, lines("Uno."), whole=True) == ("", ["Uno."])


def test_unanswered_message_is_not_doubled() -> None:
    session = chat("One.", "Two.")
    asked = Message(new_id("msg"), session.tip, "user", "Three.", encode("Three."))
    session = session.add([asked], tip=asked.id, window=None)
    assert added(session, lines("Three.")) == ("Three.", [])
    assert plan(session, lines("Three.")).trigger == "normal"


# Replies that are begun


def test_begun_reply_is_continued_under_its_message() -> None:
    session = chat("One.", "Two.")
    taken = plan(session, lines("One.", "Two.", "Three.", "Fo"))
    assert (taken.added[0].content, taken.prefill, taken.prefill_ids) == ("Three.", "Fo", encode("Fo"))


def test_whole_reply_is_continued_with_its_own_ids() -> None:
    session = chat("One.", "Two.", "Three.", "Four.")
    taken = plan(session, lines("One.", "Two.", "Three.", "Four."))
    assert taken.trigger == "continue"
    assert (taken.added, taken.prefill) == ([], "Four.")
    assert taken.prefill_ids is session.branch()[-1].token_ids


# What is about the session


def test_message_that_quotes_both_sides_is_an_aside() -> None:
    said, reply = "My boat is called Mathilda, you know.", "Then Mathilda will carry us to the moon."
    session = chat(said, reply)
    with pytest.raises(Aside):
        plan(session, lines(f"Summarize this.\nUser: {said}\nLyra: {reply}"))
    for single in (said, reply):
        assert plan(session, lines(f"You said: {single}")).added


# Whatever clients do


@dataclass
class Client:
    """A front-end: it holds what it shows, and sends that."""

    number: "count[int]" = field(default_factory=count)
    shown: list[Line] = field(default_factory=list)
    asked: list[Line] = field(default_factory=list)

    def say(self, text: str = "") -> None:
        self.asked = [*self.shown, Line("user", text or f"said {next(self.number)}")]

    def swipe(self) -> None:
        self.asked = self.shown[:-1] if self.shown else self.asked

    def edit(self, at: int, *, cut: bool, text: str = "") -> None:
        """Say a line otherwise, and keep what follows it or not."""
        if not self.shown:
            return self.say()
        at %= len(self.shown)
        line = Line(self.shown[at].role, text or f"edited {next(self.number)}")
        self.shown = [*self.shown[:at], line, *([] if cut else self.shown[at + 1 :])]
        if self.shown[-1].role == "user":
            self.asked = self.shown
        else:
            self.say()
        return None

    def heard(self, reply: str) -> None:
        self.shown = [*self.asked, Line("assistant", reply)]


def sent(asked: Sequence[Line], *, loosely: bool) -> list[Line]:
    """What arrives, of a client that trims and one that doesn't."""
    return [Line(line.role, f" {line.text}\r\n" if loosely else line.text) for line in asked]


def contents(said: Sequence[Line]) -> list[str]:
    return [line.text for line in said]


steps = st.tuples(
    st.sampled_from(["say", "swipe", "retry", "edit", "cut", "drop", "switch"]), st.integers(0, 30), st.booleans()
)


@given(st.lists(steps, max_size=25), st.booleans())
@settings(max_examples=150)
def test_active_branch_is_what_the_client_shows(taken: list[tuple[str, int, bool]], greeted: bool) -> None:
    client, session, replies = Client(), replace(new_session(), version=1) if greeted else silent(), count()
    client.say()
    # What stands before it: the greeting, which this client leaves out, and what it has dropped.
    opening = dropped = spoken(session)
    for step, at, loosely in [("say", 0, False), *taken]:
        before, shown = session, list(client.shown)
        if step == "say":
            client.say()
        elif step == "swipe":
            client.swipe()
        elif step in ("edit", "cut"):
            client.edit(at, cut=step == "cut")
        elif step == "drop" and len(client.shown) > 3:
            # A window of three lines or more, so that any edit in it is known by what precedes it, or by the end.
            gone = at % (len(client.shown) - 2)
            dropped = dropped + contents(client.shown[:gone])
            client.shown = client.shown[gone:]
            client.say()
        elif step == "switch":
            client.shown, dropped = [], opening
            client.say()
        reply = f"reply {next(replies)}"
        session = answer(session, sent(client.asked, loosely=loosely), reply, whole=True)
        active = [text.strip() for text in spoken(session)]
        client.heard(reply)
        if step in ("edit", "cut") and active != dropped + contents(client.shown):
            # Edited too early in the window to be known: a branch of its own, as the client shows it.
            dropped = active[: len(active) - len(client.shown)]
            assert dropped in ([], opening)
        assert active == dropped + contents(client.shown)
        new = len(session.messages) - len(before.messages)
        most = {"say": 2, "swipe": 1, "retry": 1, "drop": 2, "switch": 2}.get(step, len(client.shown))
        assert new <= most, (step, contents(shown), contents(client.shown))
        assert set(before.messages) <= set(session.messages)


few = st.sampled_from(["a", "b", "c"])
collisions = st.lists(st.tuples(st.sampled_from(["say", "swipe", "edit", "drop", "switch"]), few, few), max_size=20)


@given(collisions, st.booleans())
@settings(max_examples=150)
def test_active_branch_ends_as_the_client_shows_it_whatever_repeats(
    taken: list[tuple[str, str, str]], whole: bool
) -> None:
    client, session = Client(), silent()
    for step, text, reply in [("say", "a", "a"), *taken]:
        if step == "swipe":
            client.swipe()
        elif step == "edit":
            client.edit(ord(text), cut=False, text=text)
        else:
            if step != "say":
                client.shown = client.shown[2:] if step == "drop" else []
            client.say(text)
        before = len(session.messages)
        session = answer(session, client.asked, reply, whole=whole)
        assert len(session.messages) - before <= len(client.asked) + 1
        client.heard(reply)
        assert spoken(session)[-len(client.shown) :] == contents(client.shown)


def test_ten_thousand_equal_lines_are_placed_at_once() -> None:
    same = [Line("user", "a")] * 10_000
    session = answer(silent(), same, "b")
    assert added(session, [*same[1:], Line("assistant", "b"), Line("user", "c")])[1] == ["c"]
