"""Who one talks with: a card, and what is true of it."""

from dataclasses import dataclass, field

from characters.card import CharacterCard

from models.scene import UserPersona
from models.synthesis.values import Value


@dataclass(frozen=True, slots=True)
class Character:
    """Somebody to talk with: the card, who the user plays, the voice, and what can be known.

    `values` holds only what the card says. `facts` is what the card says of the user, by kind of facts.yaml. `lore` are
    names of things with what is said of them, told in the description or before the last message.
    """

    card: CharacterCard
    user: UserPersona
    voice: str
    values: dict[str, Value]
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    lore: dict[str, str] = field(default_factory=dict)
    acts: bool = False
    """Whether replies may open with an *action*, as the greeting does."""
