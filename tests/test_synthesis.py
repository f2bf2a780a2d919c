"""The grammar: the same seed says the same, answers come from the card, reserved names stay reserved."""

from pathlib import Path
from random import Random

import orjson
import pytest

from characters.profile import SYNTHESIS_LENGTHS
from models.evaluation.episodes import FIELDS, build_episodes
from models.evaluation.marks import recalls
from models.synthesis import personas, smalltalk
from models.synthesis.cast import imagine_character
from models.synthesis.grammar import choose_branches, fix_articles, load_grammar, split_lines
from models.synthesis.names import NameForge, is_held_out
from models.synthesis.portraits import imagine_portrait
from models.synthesis.profile_prompt import parse_profile, render_profile
from models.synthesis.replies import Speaker
from models.synthesis.talk import Talk
from models.synthesis.values import inflect
from models.synthesis.voices import PLAIN, load_voices

VOICES = sorted(name for name in load_voices() if name != PLAIN)


def write(folder: str, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What the two command lines write."""
    base = tmp_path_factory.mktemp(folder)
    personas.main(["--count", "30", "--seed", "5", "--out", str(base / "personas.jsonl")])
    smalltalk.main([str(base / "personas.jsonl"), "--seed", "5", "--out", str(base / "dialogues.jsonl")])
    return (base / "dialogues.jsonl").read_bytes()


def test_data_is_the_same_for_the_same_seed(tmp_path_factory: pytest.TempPathFactory) -> None:
    rows = write("first", tmp_path_factory)
    assert rows == write("second", tmp_path_factory)
    kinds = {"profile" in orjson.loads(line) for line in rows.splitlines()}
    assert kinds == {True, False}


def test_data_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    people, out = tmp_path / "personas.jsonl", tmp_path / "dialogues.jsonl"
    personas.main(["--count", "3", "--out", str(people)])
    people.write_bytes(people.read_bytes() + b"{torn")
    with pytest.raises(orjson.JSONDecodeError):
        smalltalk.main([str(people), "--out", str(out)])
    assert not out.exists()


def test_talks_have_the_shares_that_are_asked_for(tmp_path: Path) -> None:
    people, out = tmp_path / "personas.jsonl", tmp_path / "dialogues.jsonl"
    personas.main(["--count", "60", "--out", str(people)])
    shares = ["--longer", "0.3", "--scenes", "0.3", "--impersonated", "0.3"]
    smalltalk.main([str(people), "--out", str(out), *shares])
    rows = [row for row in map(orjson.loads, out.read_bytes().splitlines()) if "messages" in row]
    scenes = sum("stage" in row for row in rows)
    impersonated = sum("says next" in row["messages"][-2]["content"] for row in rows if len(row["messages"]) > 1)
    assert len(rows) == 60
    assert min(scenes, impersonated) > 9
    assert max(scenes, impersonated) < 28


def test_a_character_survives_json() -> None:
    for seed in range(20):
        character = imagine_character(Random(seed))
        row = orjson.loads(orjson.dumps(personas.dump_character(character)))
        again = personas.parse_character(row)
        assert personas.dump_character(again) == row


@pytest.mark.parametrize("voice", VOICES)
def test_answers_are_on_the_card_and_in_its_voice(voice: str) -> None:
    for seed in range(12):
        random = Random(f"{voice}/{seed}")
        character = imagine_character(random, full=True, voice=voice)
        speaker = Speaker(character, random)
        for field in FIELDS:
            value, reply = character.values[field], speaker.answer(field)
            assert recalls(field, value, reply), (field, value, reply)
            assert load_voices()[voice].is_heard_in(reply, value.spoken) or voice == "terse", reply
        assert character.card.profile
        for field in ("name", "age", "birth_place"):
            assert character.values[field].spoken.lower() in character.card.profile.lines().lower()


def test_what_the_card_does_not_say_is_not_answered() -> None:
    unanswered = 0
    for seed in range(200):
        character = imagine_character(Random(seed))
        speaker = Speaker(character, Random(seed))
        for field in FIELDS:
            if not speaker.knows(field):
                unanswered += 1
                reply = speaker.answer(field)
                own = load_voices()[character.voice].lines["unknown"]
                assert any(line in reply for line in own), (field, reply)
    assert unanswered > 100


def test_a_different_card_gets_a_different_answer() -> None:
    one, two = (imagine_character(Random(seed), full=True, voice="noir") for seed in (1, 2))
    assert not recalls("friend", two.values["friend"], Speaker(one, Random(0)).answer("friend"))


def test_facts_are_recalled_only_after_they_were_told() -> None:
    for seed in range(60):
        character = imagine_character(Random(seed), full=True)
        talk = Talk(character, Random(seed))
        for _ in range(25):
            talk.go_on()
        said = ""
        for kind, text in talk.conversation.messages:
            said += text if kind == "user" else ""
        for kind, fact in talk.memory.facts.items():
            if kind not in character.facts:
                assert fact["f"].lower() in said.lower()


def test_every_voice_is_told_from_the_others() -> None:
    for name, voice in load_voices().items():
        if voice.marks is None:
            continue
        for pool, lines in voice.lines.items():
            for line in lines:
                assert pool == "describe" or voice.is_heard_in(line), (name, pool, line)
        plain = [line for pool in load_voices()[PLAIN].lines.values() for line in pool]
        assert sum(voice.is_heard_in(line) for line in plain) < 0.2 * len(plain) or name == "cheerful"


def test_reserved_syllables_never_meet_training() -> None:
    training = [NameForge(Random(seed)) for seed in range(300)]
    reserved = [NameForge(Random(seed), held_out=True) for seed in range(300)]
    assert not {forge.word(2) for forge in training} & {forge.word(2) for forge in reserved}
    assert all(is_held_out(NameForge(Random(seed), held_out=True).word(1)) for seed in range(50))
    assert not any(is_held_out(NameForge(Random(seed)).word(1)) for seed in range(50))


def test_evaluation_is_the_same_for_the_same_seed() -> None:
    assert build_episodes(3, 1) == build_episodes(3, 1)
    assert build_episodes(3, 1) != build_episodes(3, 2)


def test_a_portrait_takes_up_its_persona() -> None:
    taken = 0
    for seed in range(100):
        persona, profile = imagine_portrait(Random(seed))
        values = profile.model_dump()
        assert all(values.values())
        assert all(
            len(values[field]) <= length and '"' not in values[field] for field, length in SYNTHESIS_LENGTHS.items()
        )
        assert parse_profile(render_profile(profile)) == profile
        words = {word for word in persona.lower().strip(".").replace(",", "").split() if len(word) > 4}
        taken += sum(word in render_profile(profile).lower() for word in words) > 0.3 * len(words)
    assert taken > 80


def test_the_grammar_covers_what_people_say() -> None:
    questions = load_grammar("questions")
    assert len(questions) >= 40
    assert all(len(lines) >= 2 for lines in questions.values())
    assert len(VOICES) >= 16
    assert all(
        len(split_lines(entry["ask"])) >= 4 for entry in load_grammar("facts").values() if isinstance(entry, dict)
    )


def test_marks_of_person_agree() -> None:
    line = "[S] [is] proud of [p] coat and [keeps] it for [f]"
    assert inflect(line, "she") == "She is proud of her coat and keeps it for herself"
    assert inflect(line, "they") == "They are proud of their coat and keep it for themselves"
    assert inflect(line, "I") == "I am proud of my coat and keep it for myself"


def test_lines_are_filled_completely() -> None:
    for seed in range(150):
        random = Random(seed)
        talk = smalltalk.hold_talk(imagine_character(random), random)
        for _, text in talk.messages:
            assert not any(sign in text for sign in "{}[]|"), text
    assert choose_branches(Random(0), "(a|a)b") == "ab"
    assert fix_articles("a owl, a one-eyed cat, A unicorn, a hen") == "an owl, a one-eyed cat, A unicorn, a hen"
