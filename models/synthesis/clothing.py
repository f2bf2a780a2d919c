"""What stands on a card around its profile: prose, scene, greeting, notes; and the things that prose tells of."""

from typing import Any

from models.synthesis.grammar import capitalize, fill_known, load_grammar, split_lines
from models.synthesis.imagination import Imagination
from models.synthesis.voices import load_voices

# How much prose stands on a card: on those for evaluation less.
_SENTENCES, _FEW_SENTENCES = (0, 1, 2, 3, 4), (0, 0, 1, 2, 3)
# Share of greetings with an *action* that go on to tell of the room.
_WORDY = 0.5


def clothe(imagination: Imagination, name: str, voice: str, style: str) -> dict[str, Any]:
    """The card's data around a profile: prose, scenario, greeting, notes, each there or not; and the lore it tells."""
    random, cards = imagination.random, load_grammar("cards")

    def line(pool: str) -> str:
        return imagination.text(
            fill_known(random.choice(split_lines(cards[pool])), {"char": "{{char}}", "user": "{{user}}"})
        )

    data: dict[str, Any] = {"name": name}
    lore: dict[str, str] = {}
    counts = _FEW_SENTENCES if imagination.forge.held_out else _SENTENCES
    sentences = [capitalize(line("prose")) for _ in range(random.choice(counts))]
    if random.random() < 0.25:
        thing, text = imagine_lore(imagination)
        lore[thing] = text.split(": ", 1)[1].removesuffix(".")
        sentences.append(text)
    if style:
        sentences.append(
            random.choice(
                [f"Way of speaking: {style}.", f"{{{{char}}}}'s speech: {style}.", f"Talks like this: {style}."]
            )
        )
    random.shuffle(sentences)
    data["description"] = " ".join(sentences)
    if random.random() < 0.5:
        data["scenario"] = line("scenario")
    acts = random.random() < 0.3
    if random.random() < 0.75:
        greeting = load_voices()[voice].line(random, "greet").replace("{char}", "{{char}}")
        if acts and not imagination.forge.held_out and random.random() < _WORDY:
            greeting = f"{greeting} *{line('prose')}* {load_voices()[voice].line(random, 'heard')}"
        data["first_mes"] = f"{line('action')} {greeting}" if acts else greeting
    if random.random() < 0.25:
        pools = random.sample(["yes", "thanks", "praise", "bye", "sad"], 2)
        asked = {
            "yes": "Is it true?",
            "thanks": "Thank you!",
            "praise": "I like you.",
            "bye": "I must go.",
            "sad": "I am sad.",
        }
        pairs = [
            f"{{{{user}}}}: {asked[pool]}\n{{{{char}}}}: {load_voices()[voice].line(random, pool)}" for pool in pools
        ]
        data["mes_example"] = "<START>\n" + "\n".join(pairs[: random.randint(1, 2)])
    if random.random() < 0.08:
        data["system_prompt"] = line("system_prompt")
    if random.random() < 0.12:
        data["post_history_instructions"] = random.choice(split_lines(cards["tail"]))
    return {"card": data, "lore": lore}


def imagine_lore(imagination: Imagination) -> tuple[str, str]:
    """A made-up thing: its name, and the sentence `name: what it is.`"""
    name = imagination.text(
        imagination.random.choice(["the {Word}", "{Word}", "the {Word} Gate", "the Night of {Word}", "{Name1} {Word}"])
    )
    line = imagination.random.choice(split_lines(load_grammar("cards")["lore"]))
    return name, imagination.text(fill_known(line, {"Lore": capitalize(name)}))
