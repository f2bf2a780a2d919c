"""A turn's lore: which entries of its lorebooks are told, where, and what the next turn has to know of it.

Rules are compiled once for a card, a set of books and a user, and kept while they are asked for. Matching runs beside
the event loop: the keys of a hostile book may take half a second to give up on.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from threading import Lock
from typing import Any

import anyio
import anyio.to_thread
import orjson

from characters.calls import Context
from characters.card import FIELD_MACROS, CharacterCard
from characters.lore.activation import Activation, activate
from characters.lore.chat import Chat, Message
from characters.lore.rule import Defaults, Rulebook
from characters.lore.rulebook import build_rulebook
from characters.lore.timing import LoreState
from characters.lorebook import Lorebook, LorebookError, parse_lorebook
from models.lore import LoreBlock, beginning, build_lore_blocks, frozen_text, outlets
from models.scene import UserPersona, read_layout

logger = logging.getLogger(__name__)

# A book with the name under which its entries are told apart.
Books = Sequence[tuple[str, Lorebook]]

# SillyTavern's share of the context.
BUDGET_SHARE = 0.25
# More of a chat than this no entry reads.
SCANNED_MESSAGES = 200
KEPT_RULEBOOKS = 64
OWN_BOOK = "character_book"
# What macros may read of a card and make of a book's texts, together; beyond it they are left as they are.
MAX_MACRO_CHARACTERS = 1 << 24
# Chats whose lore is told at a time: threads take the event loop's turns away.
MOST_TELLING = 4


@dataclass(frozen=True, slots=True)
class Told:
    """What the lorebooks say on a turn. `permanent` blocks stand in a session's head from its beginning.

    `begun` are the words that the character's reply begins with.
    """

    blocks: Sequence[LoreBlock] = ()
    outlets: Mapping[str, str] = field(default_factory=dict)
    begun: str = ""
    disabled: frozenset[str] = frozenset()
    state: LoreState = field(default_factory=LoreState)
    activation: Activation | None = None
    warnings: tuple[str, ...] = ()

    @property
    def frozen(self) -> str:
        """What is written into the history with this turn."""
        return frozen_text(self.blocks)

    def thawed(self, written: str) -> "Told":
        """The same, with what asks to be frozen in the tail for this turn; what is `written` already stays there."""
        loose = [block for block in self.blocks if block.frozen and block.text not in written]
        if not loose:
            return self
        uids = {uid for block in loose for uid in block.entries}
        blocks = [replace(block, part="tail", frozen=False) if block in loose else block for block in self.blocks]
        frozen = {uid: count for uid, count in self.state.frozen.items() if uid not in uids}
        return replace(self, blocks=blocks, state=replace(self.state, frozen=frozen))


NOTHING = Told()


class Lore:
    """Tells the lore of turns in a context of `context_tokens`."""

    def __init__(self, count_tokens: Callable[[str], int], context_tokens: int) -> None:
        self._count_tokens = count_tokens
        self._limiter = anyio.CapacityLimiter(MOST_TELLING)
        self._budget = int(context_tokens * BUDGET_SHARE)
        # By what is in the card, and by the identity of books, kept beside their rules so that it stays theirs.
        self._rulebooks: OrderedDict[tuple[object, ...], tuple[Books, list[Rulebook]]] = OrderedDict()
        self._lock = Lock()

    async def tell(
        self,
        card: CharacterCard,
        user: UserPersona,
        books: Books,
        chat: Chat,
        *,
        context: Context,
        state: LoreState = LoreState(),
        room_tokens: int | None = None,
    ) -> Told:
        """The lore of the turn that answers `chat`'s last message; of no message, what is told on every turn.

        `room_tokens` bounds all of it, beside its share of the context.
        """
        if not has_lore(card, books):
            return NOTHING
        telling = partial(self._tell, card, user, books, chat, context, state, room_tokens)
        return await anyio.to_thread.run_sync(telling, limiter=self._limiter)

    def _tell(
        self,
        card: CharacterCard,
        user: UserPersona,
        books: Books,
        chat: Chat,
        context: Context,
        state: LoreState,
        room_tokens: int | None,
    ) -> Told:
        rulebooks = self._compile(card, user, books)
        budget = self._budget if room_tokens is None else min(self._budget, room_tokens)
        activation = activate(
            rulebooks,
            chat,
            seed=context.seed or "",
            count_tokens=self._count_tokens,
            state=state,
            defaults=Defaults(token_budget=budget),
            expand=macros_of(card, user, context),
        )
        return Told(
            build_lore_blocks(activation.fired, read_layout(card)),
            outlets(activation.fired),
            beginning(activation.fired),
            activation.disabled,
            activation.state,
            activation,
            tuple(warning for book in rulebooks for warning in book.warnings),
        )

    def _compile(self, card: CharacterCard, user: UserPersona, books: Books) -> list[Rulebook]:
        key = (_digest(card), user.name, *(id(book) for _, book in books))
        with self._lock:
            if key not in self._rulebooks:
                self._rulebooks[key] = books, compile_books([*books, *read_own_book(card)], card, user)
                while len(self._rulebooks) > KEPT_RULEBOOKS:
                    self._rulebooks.popitem(last=False)
            self._rulebooks.move_to_end(key)
            return self._rulebooks[key][1]


def compile_books(books: Books, card: CharacterCard, user: UserPersona) -> list[Rulebook]:
    """The rules of `books` for one character and one user, whose names the macros in keys say."""
    expand = BoundedMacros(card, partial(card.expand, user=user.name))
    return [build_rulebook(book, name, expand=expand) for name, book in books]


def _digest(card: CharacterCard) -> bytes:
    """Of a card's book, and of all that the macros in its keys can say."""
    fields = [card.data.name, card.name, *(getattr(card.data, field) for field in FIELD_MACROS.values())]
    return blake2b(orjson.dumps([card.data.character_book, fields]), digest_size=16).digest()


class BoundedMacros:
    """Macros replaced in one text after another, until they have read and written enough."""

    def __init__(self, card: CharacterCard, expand: Callable[[str], str]) -> None:
        self._expand = expand
        self._quotable = sum(len(getattr(card.data, field)) for field in FIELD_MACROS.values())
        self._left = MAX_MACRO_CHARACTERS

    def __call__(self, text: str) -> str:
        if self._left <= 0 or ("{{" not in text and "<" not in text):
            return text
        expanded = self._expand(text)
        self._left -= len(expanded) + self._quotable
        return expanded


def macros_of(card: CharacterCard, user: UserPersona, context: Context) -> BoundedMacros:
    """What replaces macros in the lore of a turn."""
    return BoundedMacros(card, partial(card.expand, user=user.name, persona=user.persona, context=context))


def has_lore(card: CharacterCard, books: Books) -> bool:
    """Whether there is anything to tell."""
    return bool(books or (card.data.character_book or {}).get("entries"))


def read_own_book(card: CharacterCard) -> list[tuple[str, Lorebook]]:
    """The book inside a card; none where it can't be read, which was said when the card came."""
    try:
        book, _ = parse_lorebook(card.data.character_book or {})
    except LorebookError as error:
        logger.debug("a card's book is left out: %s", error)
        return []
    return [(OWN_BOOK, book)] if book.entries else []


def build_chat(
    card: CharacterCard,
    user: UserPersona,
    said: Sequence[tuple[str, str]],
    *,
    names: Sequence[str] = (),
    kept_from: int = 0,
    greeting: int | None = None,
    trigger: str = "normal",
) -> Chat:
    """The chat as lorebooks read it; `said` are roles and texts, of which the system's are none of theirs.

    `names` say who says each of them, "" where that is the user, or the character of the card.
    """
    called = {"user": user.name, "assistant": card.name}
    spoken = [
        (role, text, name or called[role])
        for (role, text), name in zip(said, names or [""] * len(said), strict=True)
        if role in called
    ]
    scanned = spoken[-SCANNED_MESSAGES:]
    earlier = spoken[: len(spoken) - len(scanned)]
    return Chat(
        [Message("user" if role == "user" else "assistant", text, name) for role, text, name in scanned],
        earlier_messages=len(earlier),
        earlier_replies=sum(role == "assistant" for role, _, _ in earlier),
        kept_from=kept_from,
        greeting=greeting,
        user_icon=user.icon or None,
        character=card.data.name,
        tags=frozenset(card.data.tags),
        trigger=trigger,
        sources=_sources(card, user),
    )


def _sources(card: CharacterCard, user: UserPersona) -> dict[str, str]:
    depth_prompt: Any = card.data.extensions.get("depth_prompt")
    return {
        "persona_description": user.persona,
        "character_description": card.data.description,
        "character_personality": card.data.personality,
        "character_depth_prompt": str(depth_prompt.get("prompt", "")) if isinstance(depth_prompt, dict) else "",
        "scenario": card.data.scenario,
        "creator_notes": card.data.creator_notes,
    }
