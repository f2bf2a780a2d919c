"""A reply told apart: what counts as a thought, an action or speech, however the text is cut, and what is held back."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.channels import Channels, Listener, Parser, Piece, tell_apart
from models.marks import SPAN_LIMIT
from tests.strategies import any_text

MARKED = (
    *("*", "**", "(", ")", "[", "]", "（", "）", "\\", ":", ";", "=", "-", '"', "'", "“"),
    *(" ", "\n", "\n\n", ".", "!", "a", "b c", "waves", "7", "笑", "x" * 300, ":)", " :(", "[a](b)", "*x*", "(y z)"),
)
replies = st.lists(st.sampled_from(MARKED) | any_text, max_size=24).map("".join)


def pieces(*texts: str) -> list[Piece]:
    """What a parser makes of the texts, neighbouring pieces of speech as one."""
    parser = Parser()
    cut = [piece for text in texts for piece in parser.feed(text)] + parser.close()
    joined: list[Piece] = []
    for piece in cut:
        if joined and joined[-1].channel == piece.channel == "speech":
            joined[-1] = Piece("speech", joined[-1].raw + piece.raw)
        else:
            joined.append(piece)
    return joined


def heard(*texts: str) -> Channels:
    """What a client makes of the same."""
    listener = Listener()
    told = [item for text in texts for item in listener.hear(text)] + listener.end()
    speech, thoughts, actions = (
        [text for kind, text in told if kind == channel] for channel in ("speech", "thought", "action")
    )
    return Channels("".join(speech), thoughts, actions)


def cut_up(data: st.DataObject, text: str) -> list[str]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(replies, st.data())
def test_pieces_do_not_depend_on_how_the_text_is_cut(text: str, data: st.DataObject) -> None:
    whole = pieces(text)
    assert pieces(*text) == pieces(*cut_up(data, text)) == whole
    assert heard(*text) == heard(*cut_up(data, text)) == tell_apart(text)


@given(replies)
def test_pieces_make_up_the_text(text: str) -> None:
    cut = pieces(text)
    assert "".join(piece.raw for piece in cut) == text
    assert all(piece.raw for piece in cut)
    assert all(len(piece.raw) <= SPAN_LIMIT and piece.text for piece in cut if piece.channel != "speech")


@given(replies)
def test_nothing_is_held_back_for_long(text: str) -> None:
    parser, given_chars = Parser(), 0
    for index, char in enumerate(text, 1):
        given_chars += sum(len(piece.raw) for piece in parser.feed(char))
        assert index - given_chars <= SPAN_LIMIT * (2 if "](" in text else 1)


@given(replies)
def test_speech_alone_stays_as_it_is(text: str) -> None:
    if all(piece.channel == "speech" for piece in pieces(text)):
        assert tell_apart(text) == Channels(text, [], [])


@given(replies, st.data())
def test_what_a_reply_goes_on_from_is_not_told_again(text: str, data: st.DataObject) -> None:
    begun = text[: data.draw(st.integers(0, len(text)))]
    told = tell_apart(text.removeprefix(begun), begun)
    if all(piece.channel == "speech" for piece in pieces(text)):
        assert told == Channels(text.removeprefix(begun), [], [])
    whole = tell_apart(text)
    assert whole.thoughts[len(whole.thoughts) - len(told.thoughts) + 1 :] == told.thoughts[1:]
    assert whole.actions[len(whole.actions) - len(told.actions) + 1 :] == told.actions[1:]


@pytest.mark.parametrize(
    ("begun", "text", "speech", "thoughts"),
    [
        ("[I hate", " him.] Welcome!", "Welcome!", ["him."]),
        ("Hello. [Him", "] Welcome!", " Welcome!", []),
        ("Hello ", "[him] you", "you", ["him"]),
        ("Hello [him] ", "you", "you", []),
        ("Hello (never", " closed", " closed", []),
        ('"Hello ', '[him]"', '"', ["him"]),
        ("Hello ", "", "", []),
    ],
)
def test_what_was_begun_closes(begun: str, text: str, speech: str, thoughts: list[str]) -> None:
    assert tell_apart(text, begun) == Channels(speech, thoughts, [])


def test_long_beginning_is_read_in_time() -> None:
    started = time.process_time()
    assert tell_apart(" him.] Welcome!", "(" * 1_000_000 + " [I hate").speech.endswith("Welcome!")
    assert time.process_time() - started < 0.5


@given(replies)
def test_speech_is_tidy(text: str) -> None:
    told = tell_apart(text)
    if told.thoughts or told.actions:
        left = "".join(piece.raw for piece in pieces(text) if piece.channel == "speech")
        assert "".join(told.speech.split()) == "".join(left.split())
        begins, ends = (pieces(text)[side].channel != "speech" for side in (0, -1))
        assert not begins or told.speech == told.speech.lstrip()
        assert not ends or told.speech == told.speech.rstrip()


@pytest.mark.parametrize(
    ("text", "speech", "thoughts", "actions"),
    [
        ("*glances at the door* I'm Lyra.", "I'm Lyra.", [], ["glances at the door"]),
        ("(waves) Hello. [Who is this?]", "Hello.", ["Who is this?"], ["waves"]),
        ("Hello *waves*, you. (Sits.) [Oh.] Well?", "Hello, you. Well?", ["Oh."], ["waves", "Sits."]),
        ("*He stops (at last).* Well.", "Well.", [], ["He stops (at last)."]),
        ("(looks [again] away *slowly*) Well.", "Well.", [], ["looks [again] away *slowly*"]),
        ("[I (maybe) *like* her.] Hm.", "Hm.", ["I (maybe) *like* her."], []),
        ("(a sigh (a long one)) Yes.", "Yes.", [], ["a sigh (a long one)"]),
        ("*He **really** runs.* Stop!", "Stop!", [], ["He **really** runs."]),
        ("*he looks *really* angry* Out!", "Out!", [], ["he looks *really* angry"]),
        ("*reads “*Moby Dick*” aloud* Aye.", "Aye.", [], ["reads “*Moby Dick*” aloud"]),
        ("*sighs.*Hello.*waves*", "Hello.", [], ["sighs.", "waves"]),
        ("Hello.(waves)(sits)Bye", "Hello. Bye", [], ["waves", "sits"]),
        ("*one\ntwo* Three.", "Three.", [], ["one\ntwo"]),
        ("你好（笑）再见", "你好再见", [], ["笑"]),
        ("你好(笑)", "你好", [], ["笑"]),
        ("【想】 Ja.", "Ja.", ["想"], []),
        ("[I hate him.](smiles at you) Welcome!", "Welcome!", ["I hate him."], ["smiles at you"]),
        ("(waves :)) Hi.", "Hi.", [], ["waves :)"]),
        ("(waves :)", "", [], ["waves :"]),
        ("(smiles :) at you) Hi.", "Hi.", [], ["smiles :) at you"]),
        ("*sighs * Hello *waves*", "*sighs * Hello", [], ["waves"]),
    ],
)
def test_reply_is_told_apart(text: str, speech: str, thoughts: list[str], actions: list[str]) -> None:
    assert tell_apart(text) == Channels(speech, thoughts, actions)


@pytest.mark.parametrize(
    "text",
    [
        "See [the map](https://example.com/a_(b)?c=d) and [link](url), ![alt](a.png).",
        "**bold**, ***bolder***, __under__, well**known**.",
        "**Not *one* of them.**",
        "Hello :) ;-) :( :-( =( :'( :[ 8) :* you",
        "2 * 3 * 4 = 5*3*2, f(x) and a[i], 5* hotel",
        "* one\n* two\n\n***\n\n* * *",
        "(1) first (a) second [2] third [ ] open (…)",
        "employee(s), (s)he, (un)likely, un*frigging*believable, snake_(case)",
        r"\*not\* \(an\) \[action\]",
        "(never closed",
        "*never closed, [nor this, (nor that",
        "*a\n\nb* and (c\n \nd) and [e\n\n\nf]",
        f"({'x ' * SPAN_LIMIT}) *{'x ' * SPAN_LIMIT}*",
        "((((((((((((((",
        "a ) b ] c",
        "* ",
        "**",
        "",
    ],
)
def test_what_only_looks_like_a_channel_is_speech(text: str) -> None:
    assert tell_apart(text) == Channels(text, [], [])


@pytest.mark.parametrize(
    ("text", "speech"),
    [
        ("  Hello.  ", "  Hello.  "),
        (" *a b* Hello.", "Hello."),
        ("Hello. *a b* ", "Hello."),
        ("Hello *a b* you.", "Hello you."),
        ("Hello *a b*.", "Hello."),
        ("Hello *a b* (c d) [e f] you.", "Hello you."),
        ("Hello.\n*a b*\nYou.", "Hello.\nYou."),
        ("Hello.\n\n*a b*\n\nYou.", "Hello.\n\nYou."),
        ("Hello. *a b*\n\nYou.", "Hello.\n\nYou."),
        ('"Hello *a b*" he said.', '"Hello" he said.'),
        ('*a b*"Hello." *c d* "You."', '"Hello." "You."'),
        ('"*a b* Hello."', '"Hello."'),
        ("“*a b* Hello.” *c d* “You.”", "“Hello.” “You.”"),
        ("Hello *a b* – you", "Hello – you"),
        ("*a b*", ""),
    ],
)
def test_white_space_is_tidied(text: str, speech: str) -> None:
    assert tell_apart(text).speech == heard(*text).speech == speech


def test_speech_streams_on_and_marks_wait_until_they_close() -> None:
    parser = Parser()
    told = [[(piece.channel, piece.raw) for piece in parser.feed(text)] for text in ("Hi", " you. *wa", "ves*", " Bye")]
    assert told == [[("speech", "Hi")], [("speech", " you. ")], [], [("action", "*waves*"), ("speech", " Bye")]]


@pytest.mark.parametrize("unit", ["(", "[", "*a ", "**a ", "( ) ", "(a *b [c ", "[a](", "\\(", " :)", "*" * 599, "(x"])
def test_hostile_replies_are_read_in_time(unit: str) -> None:
    text = (unit * 40_000)[:40_000]
    parser = Parser()
    started = time.process_time()
    given_chars = sum(
        len(piece.raw) for start in range(0, len(text), 4) for piece in parser.feed(text[start : start + 4])
    )
    given_chars += sum(len(piece.raw) for piece in parser.close())
    assert given_chars == len(text)
    assert time.process_time() - started < 2
