"""Macros: one pass, no template engine, chance that can be replayed, and nothing that a card can blow up."""

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from characters.calls import Context
from characters.card import CardData, CharacterCard
from characters.chance import roll, rolls
from characters.macros import expand, is_volatile

VALUES = {"char": "Odo", "user": "Mira", "mesexamples": "examples", "original": "ours"}
NOW = datetime(2026, 11, 3, 15, 4, 5, tzinfo=UTC)
SEEDED = Context(seed="turn 1", chat="chat", now=NOW, idle=timedelta(hours=3), outlets={"map": "a map"})


def seeded(text: str) -> str:
    return expand(text, VALUES, SEEDED)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("{{char}} and {{user}}", "Odo and Mira"),
        ("{{CHAR}} {{ User }}", "Odo Mira"),
        ("<USER> <bot> <Char>", "Mira Odo Odo"),
        ("{{mesExamples}}", "examples"),
        ("{{original}}", "ours"),
        ("{{{char}}}", "{Odo}"),
        ("{{{{char}}}}", "{{Odo}}"),
        ("a{{newline}}b", "a\nb"),
        ("a\n\n{{trim}}\n\nb", "ab"),
        ("a\n{{trim}}{{newline}}{{trim}}\nb", "ab"),
        ("a {{trim}} b", "a  b"),
        ("a{{noop}}b", "ab"),
        ("a{{// a remark: {{char}}}}b", "ab"),
        ("a{{//remark}}b", "ab"),
        ("a{{comment: x}}{{hidden_key:y}}b", "ab"),
        ('a{{banned "x"}}{{bias "y"}}b', "ab"),
        ("{{reverse:Hello}}", "olleH"),
        ("{{reverse:{{char}}}}", "odO"),
    ],
)
def test_macro_without_chance(text: str, expanded: str) -> None:
    assert expand(text, VALUES) == expanded


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no macro < here > }}",
        "{{unknown}}",
        "{{unknown:a::b}}",
        "{{#if x}}y{{/if}}",
        "{{user's}}",
        "{{char:x}}",
        "{{",
        "{{}}",
        "{{ }}",
        "{{char",
        "char}}",
        "{% for x in y %}",
        "{{ 7 * 7 }}",
        "{{char.__class__}}",
        "<GROUP>",
        "{{random:a,b}} {{pick:a,b}} {{roll:6}}",
        "{{time}} {{date}} {{weekday}} {{isotime}} {{isodate}} {{datetimeformat YYYY}} {{idle_duration}}",
        "{{outlet::nowhere}}",
    ],
)
def test_what_is_unknown_stays(text: str) -> None:
    assert expand(text, VALUES) == text


def test_what_is_unknown_around_a_macro_stays() -> None:
    assert expand("{{#if {{char}}}} x {{char", VALUES) == "{{#if Odo}} x {{char"


@given(st.text())
def test_value_is_not_read_again(value: str) -> None:
    assert expand("{{user}}|<USER>|{{reverse:{{user}}}}", {"user": value}) == f"{value}|{value}|{value[::-1]}"


@given(st.text("a:,\\ "))
def test_value_is_no_syntax_inside_another_macro(value: str) -> None:
    assert expand("{{random::{{user}}::{{user}}}}", {"user": value}, SEEDED) == value
    assert expand("{{setvar::x::{{user}}}}{{getvar::x}}", {"user": value}) == value


@given(st.text(st.characters(exclude_characters="{<")))
def test_text_without_macros_stays(text: str) -> None:
    assert expand(text, VALUES, SEEDED) == text


pieces = st.sampled_from([*"{}<>:/,ab \n", "{{", "}}", "::", "<user>", "char", "random", "setvar", "roll", "trim"])


@given(st.lists(pieces).map("".join))
def test_nothing_raises(text: str) -> None:
    assert isinstance(seeded(text), str)


def test_rolls_hang_on_all_their_names() -> None:
    assert len({roll("a", "bc"), roll("ab", "c"), roll("abc"), roll("a", "b", "c"), roll("", "abc")}) == 5
    assert rolls(3, "a", "bc")[0] == roll("a", "bc")
    assert len(set(rolls(100, "a"))) == 100


def test_random_is_replayed_from_its_seed() -> None:
    text = "{{random:a,b,c,d}}{{random:a,b,c,d}}{{random:a,b,c,d}}{{roll:d1000}}"
    assert seeded(text) == seeded(text)
    assert len({expand(text, VALUES, Context(seed=str(seed))) for seed in range(50)}) > 30


def test_random_takes_each_as_often() -> None:
    drawn = Counter(expand("{{random::a::b::c::d}}", {}, Context(seed=str(seed))) for seed in range(2000))
    assert set(drawn) == set("abcd")
    assert all(420 < count < 580 for count in drawn.values())


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("{{random: a , b }}", {"a", "b"}),
        ("{{random::a,b}}", {"a", "b"}),
        ("{{random::a,b::c}}", {"a,b", "c"}),
        (r"{{random:a\,b,c}}", {"a,b", "c"}),
        ("{{random:{{char}},{{user}}}}", {"Odo", "Mira"}),
        ("{{random :x,y}}", {"x", "y"}),
        ("{{random:alone}}", {"alone"}),
    ],
)
def test_random_has_these_choices(text: str, choices: set[str]) -> None:
    assert {expand(text, VALUES, Context(seed=str(seed))) for seed in range(50)} == choices


def test_pick_hangs_on_chat_text_and_place_alone() -> None:
    text = "{{pick::a::b::c::d::e::f}}"

    def picked(chat: str, seed: str = "", before: str = "") -> str:
        return expand(before + text, VALUES, Context(seed=seed, chat=chat))

    assert picked("chat") == picked("chat", seed="another turn")
    assert len({picked(str(chat)) for chat in range(50)}) == 6
    assert len({picked("chat", before="x" * count)[-1] for count in range(50)}) == 6


@pytest.mark.parametrize(
    ("dice", "low", "high"),
    [("6", 1, 6), ("d6", 1, 6), ("D6", 1, 6), ("2d6", 2, 12), ("3d4+2", 5, 14), ("1d4-1", 0, 3)],
)
def test_roll_is_within_its_dice(dice: str, low: int, high: int) -> None:
    rolled = [int(expand(f"{{{{roll:{dice}}}}}", {}, Context(seed=str(seed)))) for seed in range(400)]
    assert (min(rolled), max(rolled)) == (low, high)


@pytest.mark.parametrize("dice", ["x", "", "0", "0d6", "9999d6", "d", "2d", "6.5", "99999999999"])
def test_roll_of_no_dice_stays(dice: str) -> None:
    assert seeded(f"{{{{roll:{dice}}}}}") == f"{{{{roll:{dice}}}}}"


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("{{time}}", "3:04 PM"),
        ("{{date}}", "November 3, 2026"),
        ("{{weekday}}", "Tuesday"),
        ("{{isotime}} {{isodate}}", "15:04 2026-11-03"),
        ("{{datetimeformat YYYY-MM-DD HH:mm:ss}}", "2026-11-03 15:04:05"),
        ("{{datetimeformat dddd, MMMM Do YYYY [at] h:mm a}}", "Tuesday, November 3rd 2026 at 3:04 pm"),
        ("{{datetimeformat DD.MM.YY ddd dd d DDDD}}", "03.11.26 Tue Tu 2 307"),
        ("{{time_UTC+2}} {{time_UTC-5}}", "5:04 PM 10:04 AM"),
        ("{{timeDiff::2026-01-01::2026-01-04}}", "3 days"),
        ("{{timeDiff::yesterday::today}}", "{{timeDiff::yesterday::today}}"),
        ("{{idle_duration}}", "3 hours"),
        ("{{outlet::map}}", "a map"),
    ],
)
def test_macro_of_the_moment(text: str, expanded: str) -> None:
    assert seeded(text) == expanded


def test_time_in_another_zone_asks_for_one_of_its_own() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=9)))
    assert expand("{{time}} {{time_UTC+0}}", {}, Context(now=there)) == "12:04 AM 3:04 PM"
    assert expand("{{time_UTC+0}}", {}, Context(now=NOW.replace(tzinfo=None))) == "{{time_UTC+0}}"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (5, "a few seconds"),
        (60, "a minute"),
        (600, "10 minutes"),
        (3600, "an hour"),
        (-7200, "2 hours"),
        (86400, "a day"),
        (40 * 86400, "a month"),
        (100 * 86400, "3 months"),
        (400 * 86400, "a year"),
        (4 * 365 * 86400, "4 years"),
    ],
)
def test_idle_time_in_words(seconds: int, words: str) -> None:
    assert expand("{{idle_duration}}", {}, Context(idle=timedelta(seconds=seconds))) == words


@pytest.mark.parametrize("kind", ["var", "globalvar"])
def test_variables_are_kept(kind: str) -> None:
    context = Context()
    text = (
        f"{{{{set{kind}::gold::5}}}}{{{{add{kind}::gold::2.5}}}}{{{{get{kind}::gold}}}} "
        f"{{{{inc{kind}::steps}}}} {{{{inc{kind}::steps}}}} {{{{dec{kind}::steps}}}} "
        f"{{{{set{kind}::name::{{{{char}}}}}}}}{{{{add{kind}::name::::x}}}}{{{{get{kind}::name}}}}[{{{{get{kind}::none}}}}]"
    )
    assert expand(text, VALUES, context) == "7.5 1 2 1 Odo::x[]"
    kept, other = context.variables, context.global_variables
    if kind == "globalvar":
        kept, other = other, kept
    assert (dict(kept), dict(other)) == ({"gold": "7.5", "steps": "1", "name": "Odo::x"}, {})


def test_variable_without_a_value_stays() -> None:
    assert expand("{{setvar::x}}{{addvar::x}}", {}) == "{{setvar::x}}{{addvar::x}}"


CARD = CharacterCard(
    data=CardData(
        name="Odo Brann", nickname="Odo", description="{{char}} met {{user}}. {{scenario}}", scenario="A well."
    )
)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("{{description}}", "Odo met Mira. {{scenario}}"),
        ("{{Scenario}} {{char}} {{charIfNotGroup}}", "A well. Odo Odo"),
        ("[{{personality}}{{mesExamples}}{{charPrompt}}{{char_version}}]", "[]"),
        ("{{persona}}", "Mira the smith"),
        ("{{original}}|{{random:a}}|{{unknown}}", "ours|a|{{unknown}}"),
    ],
)
def test_card_quotes_its_fields(text: str, expanded: str) -> None:
    assert CARD.expand(text, "Mira", "ours", persona="{{user}} the smith", context=SEEDED) == expanded


def test_card_leaves_what_it_is_not_told() -> None:
    assert CARD.expand("{{persona}} {{random:a}} {{user}}") == "{{persona}} {{random:a}} User"


@pytest.mark.parametrize(
    ("text", "volatile"),
    [
        ("{{char}} {{user}} {{pick:a,b}} {{reverse:x}} {{// time}}", False),
        ("random roll time", False),
        ("{{RANDOM::a::b}}", True),
        ("{{roll:6}}", True),
        ("{{ time }}", True),
        ("{{time_UTC+2}}", True),
        ("{{lastMessage}}", True),
        ("{{getvar::x}}", True),
        ("{{char}} says {{idle_duration}}", True),
    ],
)
def test_volatile_is_what_changes_from_turn_to_turn(text: str, volatile: bool) -> None:
    assert is_volatile(text) is volatile


def test_group_is_whoever_talks_with_the_user() -> None:
    card = CharacterCard(data=CardData(name="Odo"))
    text = "{{group}}/{{charIfNotGroup}}/<GROUP>"
    assert card.expand(text) == "Odo/Odo/Odo"
    assert card.expand(text, context=Context(group=["Odo", "Ann"])) == "Odo, Ann/Odo, Ann/Odo, Ann"
