"""When an entry may fire at all, whatever its keys find: V3's decorators, SillyTavern's filters."""

from dataclasses import dataclass

from characters.lore.chat import Chat
from characters.lore.coercion import Json
from characters.lore.options import Options
from characters.lore.reason import Reason


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold. None and empty ask for nothing."""

    after_replies: int = 0
    every_replies: int = 0
    greeting: int | None = None
    user_icon: str | None = None
    triggers: tuple[str, ...] = ()
    characters: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    # The characters and tags are those for whom it does not fire.
    excludes: bool = False
    # Fires whenever it fired before; or never again.
    keeps_on: bool = False
    only_once: bool = False

    def filtered_by(self, chat: Chat) -> Reason | None:
        """Why the entry isn't for this character or this kind of reply."""
        if self.characters and (chat.character in self.characters) is self.excludes:
            return Reason.CHARACTER
        if self.tags and bool(self.tags & chat.tags) is self.excludes:
            return Reason.CHARACTER
        return Reason.TRIGGER if self.triggers and chat.trigger not in self.triggers else None

    def unmet_in(self, chat: Chat) -> Reason | None:
        """Why the entry may not fire at this point of the chat. What a chat doesn't know is never held against it."""
        if self.greeting is not None and chat.greeting not in (None, self.greeting):
            return Reason.GREETING
        if self.user_icon is not None and chat.user_icon not in (None, self.user_icon):
            return Reason.USER_ICON
        if chat.reply_count < self.after_replies:
            return Reason.TOO_FEW_REPLIES
        return Reason.NOT_THIS_REPLY if self.every_replies and chat.reply_count % self.every_replies else None


def build_condition(options: Options) -> Condition:
    """The conditions in an entry's decorators, and in SillyTavern's `characterFilter` and `triggers`."""
    decorators = options.decorators
    value = options.value("character_filter")
    whom: dict[str, Json] = value if isinstance(value, dict) else {}
    return Condition(
        after_replies=int(decorators.get("activate_only_after", 0)),
        every_replies=int(decorators.get("activate_only_every", 0)),
        greeting=int(decorators["is_greeting"]) if "is_greeting" in decorators else None,
        user_icon=decorators.get("is_user_icon"),
        triggers=options.texts("triggers"),
        characters=_names(whom.get("names")),
        tags=_names(whom.get("tags")),
        excludes=bool(whom.get("isExclude")),
        keeps_on="keep_activate_after_match" in decorators,
        only_once="dont_activate_after_match" in decorators,
    )


def _names(value: Json) -> frozenset[str]:
    return frozenset(item for item in value if isinstance(item, str)) if isinstance(value, list) else frozenset()
