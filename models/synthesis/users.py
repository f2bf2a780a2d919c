"""Who the user plays, and what can be known of them."""

from typing import Any

from models.scene import UserPersona
from models.synthesis.grammar import fill_known, fix_articles, load_grammar, split_lines
from models.synthesis.imagination import Imagination


def imagine_user(imagination: Imagination) -> tuple[dict[str, dict[str, str]], UserPersona]:
    """Who the user plays, with the facts that their persona tells."""
    random, forge = imagination.random, imagination.forge
    name = forge.name() if random.random() < 0.65 else "User"
    facts: dict[str, dict[str, str]] = {}
    sentences = []
    if random.random() < 0.4:
        entries = load_grammar("facts").items()
        kinds = [kind for kind, entry in entries if isinstance(entry, dict) and "persona" in entry and kind != "name"]
        for kind in random.sample(kinds, random.randint(1, 3)):
            facts[kind] = imagine_fact(imagination, kind)
            line = load_grammar("facts")[kind]["persona"].strip()
            sentences.append(fix_articles(fill_known(line, {**facts[kind], "user": random.choice([name, "{{user}}"])})))
        if random.random() < 0.5:
            sentences.append(
                imagination.text(
                    fill_known(random.choice(split_lines(load_grammar("cards")["user_persona"])), {"user": name})
                )
            )
        random.shuffle(sentences)
    if name != "User":
        facts["name"] = {"f": name}
    return facts, UserPersona(name, " ".join(sentences))


def imagine_fact(imagination: Imagination, kind: str) -> dict[str, str]:
    """One thing about a user: `f`, the fact, and what else its lines name."""
    entry: dict[str, Any] = load_grammar("facts")[kind]
    extras = {slot: imagination.slot(slot) for slot in ("beast", "kin", "n", *entry.get("slots", ()))}
    return {"f": imagination.text(imagination.random.choice(entry["value"])), **extras}
