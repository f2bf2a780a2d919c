"""The prompt's layout: append-only but for rare cuts, never over the limit, and saying what the card says."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from characters.card import CardData, CharacterCard
from characters.profile import LABELS, Profile
from models.prompt import KEEP_SHARE, Insertion, PromptTooLong, build_prompt
from models.renderer import Role, Turn, load_renderer
from models.scene import Scene, UserPersona
from models.sections import BEGINNING, CLOSING, EXAMPLE, OPENING, build_head, head_text, tail_text
from tests.conftest import TINY
from tests.strategies import content, to_turns

LLAMA = load_renderer(str(TINY))
LIMIT = 400
HEAD = [Turn("system", LLAMA.encode("You are Odo. " * 8))]
TAIL = LLAMA.encode("Stay brief.")

# A chat as long as hypothesis likes: the words of each of the user's turns and of the reply to it.
exchanges = st.tuples(st.integers(0, 30), st.integers(0, 60))
chats = st.lists(exchanges, min_size=1, max_size=30)


def say(role: Role, words: int) -> Turn:
    return Turn(role, LLAMA.encode(" ".join(["moon"] * words)))


def insert(tail: list[int]) -> list[Insertion]:
    """`tail` before the last turn of the user's."""
    return [Insertion(Turn("system", tail))] if tail else []


def build_turns(chat: list[tuple[int, int]], greeting: int = 5) -> list[Turn]:
    """The chat's turns up to the user's last."""
    turns = [say("assistant", greeting)] if greeting else []
    for asked, answered in chat:
        turns += [say("user", asked), say("assistant", answered)]
    return turns[:-1]


def talk(turns: list[Turn], tail: list[int], limit: int = LIMIT) -> list[tuple[list[int], int, int]]:
    """Each prompt of the chat, as a session asks for them: its ids, its start, and the turns that it could hold."""
    prompts, start = [], 0
    for count, turn in enumerate(turns, 1):
        if turn.role == "user":
            prompt = build_prompt(LLAMA, HEAD, turns[:count], inserted=insert(tail), limit_tokens=limit, start=start)
            start = prompt.start
            prompts.append((prompt.token_ids, start, count))
    return prompts


@given(chats)
def test_prompt_is_a_prefix_of_the_next_but_for_a_cut(chat: list[tuple[int, int]]) -> None:
    prompts = talk(build_turns(chat), [])
    for (before, start, _), (after, following, _) in pairwise(prompts):
        assert following != start or after[: len(before)] == before


@given(chats)
def test_prompt_without_its_tail_is_a_prefix_of_the_next_but_for_a_cut(chat: list[tuple[int, int]]) -> None:
    turns = build_turns(chat)
    prompts = talk(turns, TAIL)
    for (_, start, count), (after, following, _) in pairwise(prompts):
        if following == start:
            # What stays: all but the tail and what stands after it, the user's last message.
            closed = LLAMA.segments([*HEAD, *turns[start : count - 1]])
            kept = [token for segment in closed for token in segment.token_ids]
            assert after[: len(kept)] == kept


@given(chats, st.booleans())
def test_prompt_never_exceeds_the_limit(chat: list[tuple[int, int]], tailed: bool) -> None:
    assert all(len(ids) <= LIMIT for ids, _, _ in talk(build_turns(chat), TAIL if tailed else []))


@given(chats, st.booleans())
def test_prompt_ends_with_the_last_turn_of_the_users(chat: list[tuple[int, int]], tailed: bool) -> None:
    turns = build_turns(chat)
    last = LLAMA.render([turns[-1]])[1:]
    ids = talk(turns, TAIL if tailed else [])[-1][0]
    assert ids[-len(last) :] == last


@given(chats)
def test_cut_happens_at_a_turn_of_the_users(chat: list[tuple[int, int]]) -> None:
    turns = build_turns(chat)
    assert all(start == 0 or turns[start].role == "user" for _, start, _ in talk(turns, TAIL))


@given(chats, st.booleans())
def test_cut_leaves_at_most_its_share(chat: list[tuple[int, int]], tailed: bool) -> None:
    turns, tail = build_turns(chat), TAIL if tailed else []
    closing = [Turn("system", tail)] if tail else []
    earlier = 0
    for ids, start, count in talk(turns, tail):
        fixed = len(LLAMA.render([*HEAD, *closing, turns[count - 1]]))
        if start != earlier:
            assert len(ids) <= fixed + (LIMIT - fixed) * KEEP_SHARE
        earlier = start


@given(st.integers(1, 30), st.integers(1, 30))
def test_cuts_are_rare(asked: int, answered: int) -> None:
    chat = [(asked, answered)] * 60
    starts = [start for _, start, _ in talk(build_turns(chat), [])]
    cuts = sum(before != after for before, after in pairwise(starts))
    # What a cut frees holds so many exchanges; one more is the block that a turn boundary rounds to.
    exchange = len(LLAMA.render([say("user", asked), say("assistant", answered)]))
    freed = (LIMIT - len(LLAMA.render([*HEAD, say("user", asked)]))) * (1 - KEEP_SHARE)
    assert cuts <= 60 / max(1, int(freed / exchange))


def test_cut_is_kept_by_the_next_prompt() -> None:
    turns = build_turns([(10, 30)] * 12)
    cut = build_prompt(LLAMA, HEAD, turns, limit_tokens=LIMIT)
    assert cut.start > 0
    assert build_prompt(LLAMA, HEAD, turns, limit_tokens=LIMIT, start=cut.start) == cut


def test_cut_keeps_what_was_written_for_a_message_with_it() -> None:
    turns: list[Turn] = []
    for _ in range(12):
        turns += [say("system", 3), say("user", 8), say("assistant", 20)]
    cut = build_prompt(LLAMA, HEAD, turns[:-1], limit_tokens=LIMIT)
    assert cut.start > 0
    assert [turn.role for turn in turns[cut.start : cut.start + 2]] == ["system", "user"]


@pytest.mark.parametrize("asked", [[], [say("user", 3)]])
@pytest.mark.parametrize("answers", [[], [say("user", 3)]])
def test_who_talks_on_is_cut_in_a_block(asked: list[Turn], answers: list[Turn]) -> None:
    turns = [*asked, *[say("assistant", 20)] * 40, *answers, Turn("assistant", LLAMA.encode("Ann:"))]
    cut = build_prompt(LLAMA, HEAD, turns, inserted=[Insertion(Turn("system", TAIL), 0)], limit_tokens=LIMIT)
    assert KEEP_SHARE * LIMIT / 2 < len(cut.token_ids) <= LIMIT
    assert 0 < cut.start < len(turns) - 1
    again = build_prompt(
        LLAMA, HEAD, turns, inserted=[Insertion(Turn("system", TAIL), 0)], limit_tokens=LIMIT, start=cut.start
    )
    assert again == cut


def test_begun_reply_stands_behind_everything_though_no_user_spoke() -> None:
    begun = Turn("assistant", LLAMA.encode("Ann:"))
    ids = build_prompt(
        LLAMA, HEAD, [say("assistant", 2), begun], inserted=[Insertion(Turn("system", TAIL), 0)], limit_tokens=LIMIT
    ).token_ids
    assert ids == LLAMA.render([*HEAD, say("assistant", 2), Turn("system", TAIL), begun])


def test_continued_reply_keeps_the_tail_before_the_users_turn() -> None:
    turns = [say("user", 3), say("assistant", 2)]
    ids = build_prompt(LLAMA, HEAD, turns, inserted=insert(TAIL), limit_tokens=LIMIT).token_ids
    assert ids == LLAMA.render([*HEAD, Turn("system", TAIL), *turns])


def test_prompt_without_head_has_no_system_turn() -> None:
    turns = [say("user", 3)]
    assert build_prompt(LLAMA, [], turns, limit_tokens=LIMIT).token_ids == LLAMA.render(turns)


@given(content)
def test_prompt_holds_content_as_its_own_ids(text: str) -> None:
    ids = build_prompt(LLAMA, HEAD, to_turns(LLAMA, [("user", text)]), limit_tokens=10_000).token_ids
    spoken = LLAMA.encode(text)
    assert any(ids[at : at + len(spoken)] == spoken for at in range(len(ids)))


def test_long_card_is_refused_with_both_numbers() -> None:
    with pytest.raises(PromptTooLong, match=r"the character's card needs \d+ tokens, and 400 fit") as refused:
        build_prompt(LLAMA, [Turn("system", LLAMA.encode("moon " * 900))], [], limit_tokens=LIMIT)
    assert refused.value.limit_tokens == LIMIT
    assert refused.value.needed_tokens > 900
    assert str(refused.value.needed_tokens) in str(refused.value)


def test_long_message_is_refused_with_both_numbers() -> None:
    with pytest.raises(PromptTooLong, match="the card with the last message needs") as refused:
        build_prompt(
            LLAMA, HEAD, [*build_turns([(2, 2)] * 3), say("assistant", 1), say("user", 900)], limit_tokens=LIMIT
        )
    assert refused.value.needed_tokens > LIMIT == refused.value.limit_tokens


def test_long_conversation_is_refused_when_it_must_not_be_cut() -> None:
    turns = build_turns([(10, 30)] * 12)
    with pytest.raises(PromptTooLong, match="the conversation needs") as refused:
        build_prompt(LLAMA, [], turns, limit_tokens=LIMIT, cut=False)
    assert refused.value.needed_tokens == len(LLAMA.render(turns))


def test_needed_tokens_are_enough() -> None:
    turns = [say("user", 500)]
    with pytest.raises(PromptTooLong) as refused:
        build_prompt(LLAMA, HEAD, turns, inserted=insert(TAIL), limit_tokens=LIMIT)
    assert build_prompt(LLAMA, HEAD, turns, inserted=insert(TAIL), limit_tokens=refused.value.needed_tokens).start == 0


FULL = CharacterCard(
    data=CardData(
        name="Odo",
        description="DESCRIPTION of {{char}}",
        personality="PERSONALITY",
        scenario="SCENARIO with {{user}}",
        mes_example="EXAMPLE",
        post_history_instructions="Be brief, {{char}}. ",
    ),
    profile=Profile(name="Odo", age="70", goal="sleep"),
    persona="A baker",
)
MIRA = UserPersona("Mira", "A thief")


def test_head_sections_stand_in_their_order() -> None:
    assert head_text(FULL, MIRA, extra="EXTRA") == "\n\n".join(
        [
            OPENING.replace("{{char}}", "Odo").replace("{{user}}", "Mira"),
            "# Persona\nA baker",
            "# Character Profile\nName: Odo\nAge: 70\nGoal: sleep",
            "# Description\nDESCRIPTION of Odo",
            "# Personality\nPERSONALITY",
            "# Scenario\nSCENARIO with Mira",
            "# About Mira\nA thief",
            "# Instructions\nEXTRA",
            CLOSING.replace("{{char}}", "Odo").replace("{{user}}", "Mira"),
        ]
    )


def test_head_of_a_bare_name_is_opening_and_closing() -> None:
    head = head_text(CharacterCard(data=CardData(name="Odo")))
    assert "#" not in head
    assert head.startswith("You are Odo, talking with User.")


def test_head_of_a_persona_alone_says_the_persona() -> None:
    card = CharacterCard(data=CardData(name="Odo"), persona="A cynical detective with a penchant for jazz music")
    assert "# Persona\nA cynical detective with a penchant for jazz music" in head_text(card)


def test_head_leaves_blank_sections_out() -> None:
    card = CharacterCard(data=CardData(name="Odo", description="  \n ", scenario="Here."), profile=Profile())
    head = head_text(card, UserPersona(persona=" "))
    assert "# Description" not in head
    assert "# Character Profile" not in head
    assert "# About" not in head
    assert "# Scenario\nHere." in head


def test_system_prompt_stands_in_for_the_opening() -> None:
    head = head_text(CharacterCard(data=CardData(name="Odo", system_prompt="Play {{char}}.")))
    assert head.startswith("Play Odo.")
    assert "You stay Odo" not in head


def test_system_prompt_can_quote_the_opening() -> None:
    head = head_text(CharacterCard(data=CardData(name="Odo", system_prompt="{{original}} Rhyme.")), MIRA)
    assert head.startswith("You are Odo, talking with Mira.")
    assert "to the last. Rhyme." in head


def test_macros_are_read_once() -> None:
    head = head_text(CharacterCard(data=CardData(name="Odo", scenario="{{user}} is here.")), UserPersona("{{char}}"))
    assert "# Scenario\n{{char}} is here." in head


def test_macros_in_every_field_are_expanded() -> None:
    fields = ("description", "personality", "scenario", "system_prompt")
    data = CardData(name="Odo", **{field: f"{field}: {{{{char}}}} and {{{{USER}}}}" for field in fields})
    head = head_text(CharacterCard(data=data), UserPersona("Mira", "{{user}} of {{char}}"))
    assert all(f"{field}: Odo and Mira" in head for field in fields)
    assert "Mira of Odo" in head


def test_nickname_is_what_char_stands_for() -> None:
    assert head_text(CharacterCard(data=CardData(name="Odo Brann", nickname="Odo"))).startswith("You are Odo, ")


def test_tail_is_the_post_history_instructions() -> None:
    assert tail_text(FULL) == "Be brief, Odo."


def test_profile_lines_keep_the_papers_order() -> None:
    profile = Profile(**{field: f"its {field}" for field in reversed(LABELS)})
    assert profile.lines().splitlines() == [f"{label}: its {field}" for field, label in LABELS.items()]


@given(st.text())
def test_profile_value_stays_on_its_line(text: str) -> None:
    assert len(Profile(name="Odo", secret=text[:2000]).lines().splitlines()) <= 2


@given(content)
def test_head_is_stable(text: str) -> None:
    card = CharacterCard(data=CardData(name="Odo", description=text))
    assert head_text(card, MIRA) == head_text(card, MIRA)


def shown(head: list[Turn]) -> list[tuple[str, str]]:
    """A head's turns behind its first, as text."""
    return [(turn.role, LLAMA.decode(turn.token_ids)) for turn in head[1:]]


def example_of(text: str) -> list[tuple[str, str]]:
    card = CharacterCard(data=CardData(name="Odo Brann", nickname="Odo", mes_example=text))
    return shown(build_head(LLAMA.encode, Scene(card, MIRA)))


ANNOUNCED = EXAMPLE.replace("{{char}}", "Odo")


def test_examples_are_turns_between_head_and_history() -> None:
    text = "<START>\n{{user}}: Hello!\n{{char}}: Hm.\nWhat now?\n<start>\nOdo Brann: Bread?\nMira: No."
    assert example_of(text) == [
        ("system", ANNOUNCED),
        ("user", "Hello!"),
        ("assistant", "Hm.\nWhat now?"),
        ("system", ANNOUNCED),
        ("assistant", "Bread?"),
        ("user", "No."),
        ("system", BEGINNING),
    ]


def test_examples_without_speakers_are_told_whole() -> None:
    assert example_of("It is night.\n<START>\nRain. {{char}}: no line of its own") == [
        ("system", f"{ANNOUNCED}\nIt is night."),
        ("system", f"{ANNOUNCED}\nRain. Odo: no line of its own"),
        ("system", BEGINNING),
    ]


@pytest.mark.parametrize("text", ["", "<START>", " \n<START>\n\n<START>\n"])
def test_no_example_is_no_turn(text: str) -> None:
    assert example_of(text) == []
