"""What the grammar says of days, houses, hearts and doubts, of news and of two things at once: from the card or from
what was said, and no line twice."""

import re
from itertools import pairwise, product
from random import Random

import pytest

from models.evaluation.chats import NEWCOMERS
from models.evaluation.episodes import build_episodes
from models.evaluation.marks import contains_phrase, normalize, shares_words
from models.synthesis.cast import imagine_character
from models.synthesis.character import Character
from models.synthesis.drills import hold_drill
from models.synthesis.everyday import NEAREST
from models.synthesis.grammar import load_grammar, split_lines, words
from models.synthesis.names import NameForge
from models.synthesis.personas import imagine_characters
from models.synthesis.repertoire import Repertoire
from models.synthesis.replies import Speaker
from models.synthesis.scenes import build_cast_scene
from models.synthesis.smalltalk import build_rows, hold_talk
from models.synthesis.talk import Talk
from models.synthesis.voices import load_voices

CHARACTERS = list(imagine_characters(80, 21))
ECHOED = {"lost": "thing", "serve": "drink", "trouble": "kin", "poem": "theme"}
# Lines of the newcomers' that anybody says, and the grammar always did.
COMMON = {
    *("hello", "goodnight", "how old are you", "tell me a joke", "what makes you happy", "what do you do all day"),
    *("who is your best friend", "what was my job again", "what's 2+2", "you're boring", "do you believe in ghosts"),
    *("are you an ai", "what's your biggest secret", "what are you most afraid of"),
}


def bare(text: str) -> str:
    return re.sub(r"[^\w' +]", "", normalize(text)).strip()


def wordings(kind: str) -> set[str]:
    """Every line of a kind of questions.yaml, with each of its branches."""
    found = set()
    for line in load_grammar("questions")[kind]:
        parts = [
            part[1:-1].split("|") if part[:1] == "(" else [part] for part in re.split(r"(\([^()]*\|[^()]*\))", line)
        ]
        found |= {bare("".join(chosen)) for chosen in product(*parts)}
    return found


def last(talk: Talk) -> tuple[str, str]:
    """The last exchange."""
    return talk.conversation.messages[-2][1], talk.conversation.messages[-1][1]


def frames(pool: str) -> list[re.Pattern[str]]:
    """The lines of a pool without slots, as the plain voice and the terse one say them."""
    entry = load_grammar("answers")[pool]
    return [re.compile(re.escape(line)) for kind in ("plain", "terse") for line in split_lines(entry[kind])]


def talks(voice: str | None = None, *, full: bool = True) -> list[tuple[Character, Talk]]:
    """Talks with characters of one voice, the plain one if none is named."""
    characters = [imagine_character(Random(seed), full=full, voice=voice or "plain") for seed in range(40)]
    return [(character, Talk(character, Random(seed))) for seed, character in enumerate(characters)]


@pytest.mark.parametrize("kind", NEAREST)
def test_the_nearest_field_answers_or_nothing_does(kind: str) -> None:
    told = 0
    for character, talk in talks():
        talk.everyday.ask(kind)
        _, reply = last(talk)
        untold = any(frame.search(reply) for frame in frames(f"{kind}.untold"))
        assert untold != shares_words(character.values[NEAREST[kind]].spoken, reply), reply
        told += not untold
    assert 20 < told < 40


@pytest.mark.parametrize("kind", NEAREST)
def test_what_the_card_lacks_is_said_to_be_untold(kind: str) -> None:
    lacking = [one for one in talks(full=False) if NEAREST[kind] not in one[0].values]
    for _, talk in lacking:
        talk.everyday.ask(kind)
        assert any(frame.search(last(talk)[1]) for frame in frames(f"{kind}.untold"))


def test_every_kind_of_value_has_its_answer() -> None:
    answers = load_grammar("answers")
    for kind, field in NEAREST.items():
        shapes = {imagine_character(Random(seed), full=True).values[field].shape for seed in range(60)}
        assert all(f"{kind}.{shape}" in answers or kind in answers for shape in shapes), kind


def test_now_is_the_scene_and_not_the_birth_place() -> None:
    seen = 0
    for character, talk in talks(full=False):
        talk.everyday.ask_where("now")
        _, reply = last(talk)
        scene = re.split(r"[.;,]", character.card.data.scenario)[0]
        if scene and "{{" not in scene:
            seen += 1
            assert contains_phrase(reply, scene), reply
        else:
            assert any(frame.search(reply) for frame in frames("now.untold")), reply
        if "birth_place" in character.values and not scene:
            assert character.values["birth_place"].spoken not in reply
    assert seen > 5


def test_a_doubt_is_answered_with_what_was_said() -> None:
    for character, talk in talks():
        talk.interview.ask("friend")
        talk.everyday.doubt()
        assert contains_phrase(last(talk)[1], character.values["friend"].short)
        assert bare(last(talk)[0]) not in wordings("again")


@pytest.mark.parametrize("kind", ECHOED)
def test_news_is_taken_up_by_its_own_word(kind: str) -> None:
    things = {*words("thing"), *words("kin")} | {
        item.strip()
        for text in (load_grammar("facts")["drink"], load_grammar("answers")["theme"]["words"])
        for item in text.split(";")
    }
    for character in CHARACTERS[:40]:
        talk = Talk(character, Random(1))
        talk.chatter.echo(kind)
        said, reply = (normalize(text) for text in last(talk))
        named = [thing for thing in things if re.search(rf"\b{re.escape(thing.lower())}\b", said)]
        assert any(name.lower() in reply for name in named), (said, reply)


def test_two_things_told_at_once_are_both_taken_note_of_and_given_back() -> None:
    for character, talk in talks():
        before = set(character.facts)
        talk.memory.tell_two()
        one, two = set(talk.memory.facts) - before
        facts = [talk.memory.facts[kind]["f"] for kind in (one, two)]
        assert all(contains_phrase(last(talk)[0], fact) for fact in facts)
        talk.memory.recall(one, two)
        assert all(contains_phrase(last(talk)[1], fact) for fact in facts), last(talk)


def test_an_event_is_recalled_with_its_day_and_its_noun() -> None:
    for _, talk in talks():
        for kind in ("event", "invitation"):
            talk.memory.tell(kind)
        days = [talk.memory.facts[kind]["day"] for kind in ("event", "invitation")]
        assert days[0] != days[1]
        for kind in ("event", "invitation"):
            fact = talk.memory.facts[kind]
            talk.memory.recall(kind)
            assert contains_phrase(last(talk)[1], fact["f"])
            assert contains_phrase(last(talk)[1], fact["day"])


def test_an_event_is_no_part_of_who_the_user_plays() -> None:
    assert not any({"event", "invitation"} & set(character.facts) for character in CHARACTERS)


def test_no_voice_tag_comes_back_in_sixteen_exchanges() -> None:
    for seed, character in enumerate(CHARACTERS):
        voice, talk = load_voices()[character.voice], Talk(character, Random(seed))
        for _ in range(16):
            talk.go_on()
        said = " ".join(text for role, text in talk.conversation.messages if role == "assistant")
        # Short tags stand in other lines, too, and voices that show in tags alone may run out of them.
        tags = [line for pool in ("open", "close") for line in voice.lines[pool] if len(line) > 16]
        assert max((said.count(line) for line in tags), default=0) <= 1, (character.voice, said)


def test_an_action_is_in_one_reply_of_four_at_most() -> None:
    acted = 0
    for seed in range(60):
        character = imagine_character(Random(seed))
        messages = hold_talk(character, Random(seed)).messages
        replies = [reply for (asker, _), (_, reply) in pairwise(messages) if asker == "user"]
        places = [place for place, text in enumerate(replies) if text.startswith("*")]
        assert all(later - earlier >= 4 for earlier, later in pairwise([-1, *places]))
        acted += len(places)
    assert acted > 20


def test_a_line_that_was_only_tried_is_not_said() -> None:
    repertoire = Repertoire(Random(1))
    assert {repertoire.draw(["a", "b"]), repertoire.draw(["a", "b"])} == {"a", "b"}
    repertoire.drop()
    assert repertoire.has_unsaid(["a"])
    first = repertoire.draw(["a", "b", "c"])
    repertoire.keep()
    assert not repertoire.has_unsaid([first])
    assert first not in {repertoire.draw(["a", "b", "c"]), repertoire.draw(["a", "b", "c"])}
    repertoire.keep()
    assert repertoire.draw(["a", "b", "c"]) == first


def test_a_bad_day_is_no_weather() -> None:
    assert not wordings("sad") & wordings("weather")
    assert not any(re.search(r"\b(terrible|awful|bad|hard) (day|evening)\b", line) for line in wordings("weather"))
    lines = [line for voice in load_voices().values() for line in voice.lines["sad"]]
    assert not any("weather" in line for line in lines)


def test_goodnight_is_a_goodbye() -> None:
    assert {"goodnight", "sleep well"} <= wordings("goodnight")
    for character, talk in talks("noir"):
        talk.chatter.chat("goodnight")
        assert any(
            line in last(talk)[1] or character.user.name in last(talk)[1] for line in load_voices()["noir"].lines["bye"]
        )


def test_newcomers_say_what_the_grammar_does_not() -> None:
    lines = {bare(line) for chat in NEWCOMERS for line in chat} - COMMON
    said = {
        bare(message["content"])
        for row in build_rows(CHARACTERS * 6, 5, longer=0.2, scenes=0.2)
        for message in row.get("messages", ())
        if message["role"] == "user"
    }
    questions = {wording for kind in load_grammar("questions") for wording in wordings(kind)}
    assert not lines & (said | questions)


def test_evaluation_meets_no_long_values_and_no_ages_in_words() -> None:
    odd = set(words("odd")) | set(words("rare"))
    for episode in build_episodes(60, 1):
        values = episode.character.values
        assert re.search(r"\d", values["age"].spoken)
        assert not any(
            word in values[field].spoken.split() for field in ("likes", "appearance", "fears") for word in odd
        )
    trained = [character.values for character in CHARACTERS if "likes" in character.values]
    assert sum(any(word in values["likes"].spoken for word in odd) for values in trained) > 8


def test_an_age_in_words_is_nobodys_birthday() -> None:
    characters = [imagine_character(Random(seed), full=True, voice="plain") for seed in range(200)]
    ages = [character for character in characters if character.values["age"].shape == "words"]
    assert 10 < len(ages) < 50
    for number, character in enumerate(ages):
        reply = Speaker(character, Random(number)).answer("age")
        assert contains_phrase(reply, character.values["age"].spoken)
        assert "turned" not in reply


def test_words_that_are_hard_to_copy_are_hard_and_not_reserved() -> None:
    forge = NameForge(Random(1))
    assert all(re.search(r"(\w{2,})\w*\1", forge.babble()) for _ in range(100))
    knots = [forge.knot() for _ in range(200)]
    assert sum("-" in knot for knot in knots) > 30
    assert sum(bool(re.search(r"[a-z'][A-Z]", knot)) for knot in knots) > 20


def test_drills_copy_long_lists_and_names_that_run_in_circles() -> None:
    replies = [
        text
        for seed, character in enumerate(CHARACTERS)
        if character.card.profile
        for role, text in hold_drill(character, Random(seed)).messages
        if role == "assistant"
    ]
    assert sum(text.count(", ") >= 4 for text in replies) > 0.03 * len(replies)
    assert sum(bool(re.search(r"(\w{2,4})\1", text)) for text in replies) > 0.08 * len(replies)


def test_a_cast_is_told_of_its_own_scene_alone() -> None:
    for number in range(60):
        row = build_cast_scene(CHARACTERS[number : number + 3], Random(number))
        said = " ".join(message["content"] for message in row["messages"] if message["role"] == "assistant")
        for character in CHARACTERS[number : number + 3]:
            scene = re.split(r"[.;,]", character.card.data.scenario)[0]
            assert not scene or "{{" in scene or scene in row.get("scenario", "") or not contains_phrase(said, scene)
