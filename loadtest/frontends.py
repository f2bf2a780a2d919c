"""Chats as front-ends hold them: the client keeps the transcript, and sends the newest of it that fits each time."""

from collections.abc import Mapping
from functools import lru_cache
from typing import cast

from characters.card import CharacterCard
from loadtest.chats import Message, Request, Sampling, TranscriptChat, greeting_of, head_of
from models.renderer import Renderer, Role, Turn
from models.scene import Scene
from models.sections import head_messages

# SillyTavern's: how many messages stand after the author's note, and what it leaves free beside the reply.
NOTE_DEPTH, SPARE_TOKENS = 4, 3


class WindowChat(TranscriptChat):
    """A transcript of which only the newest messages that fit are sent, counted as the server will count them."""

    def __init__(
        self,
        model: str,
        sampling: Sampling,
        head: list[Message],
        opening: list[Message],
        *,
        renderer: Renderer,
        limit_tokens: int,
    ) -> None:
        """`head` is never dropped."""
        super().__init__(model, sampling, [*head, *opening])
        self._pinned = len(head)
        self._renderer = renderer
        self._encode = lru_cache(maxsize=4096)(renderer.encode)
        self._limit_tokens = limit_tokens

    def say(self, line: str) -> Request:
        while len(self.messages) > self._pinned and self._count(self.laid_out(line)) > self._limit_tokens:
            del self.messages[self._pinned]
        return Request("/v1/chat/completions", {**self._body, "messages": self.laid_out(line)})

    def laid_out(self, line: str) -> list[Message]:
        """The prompt's messages."""
        return [*self.messages, {"role": "user", "content": line}]

    def _count(self, messages: list[Message]) -> int:
        turns = [Turn(cast(Role, message["role"]), self._encode(message["content"].strip())) for message in messages]
        return len(self._renderer.render(turns))


class BookChat(WindowChat):
    """A sliding window alone: lore and note stand where our server puts them, before the last message."""

    def __init__(
        self,
        model: str,
        sampling: Sampling,
        card: CharacterCard,
        lore: Mapping[str, str],
        note: str,
        *,
        renderer: Renderer,
        limit_tokens: int,
    ) -> None:
        """`lore` is what there is to know by the word that asks for it."""
        super().__init__(
            model, sampling, self.head(card), greeting_of(card), renderer=renderer, limit_tokens=limit_tokens
        )
        self._lore = lore
        self._note = note

    def head(self, card: CharacterCard) -> list[Message]:
        """What stands above the history."""
        return head_of(card)

    def laid_out(self, line: str) -> list[Message]:
        *before, last = super().laid_out(line)
        return [*before, {"role": "system", "content": f"# World\n{self.told(line)}\n\n{self._note}"}, last]

    def told(self, line: str) -> str:
        """The lore that the line asks for."""
        return "\n\n".join(text for word, text in self._lore.items() if word in line)


class FrontEndChat(BookChat):
    """SillyTavern's layout: a sliding window, lore above the character, the author's note at its depth."""

    def head(self, card: CharacterCard) -> list[Message]:
        first, *examples = head_messages(Scene(card))
        texts = [first.blocks[0].text, "\n\n".join(block.text for block in first.blocks[1:])]
        described: list[Message] = [{"role": "system", "content": text} for text in texts]
        return [*described, *({"role": message.role, "content": message.text} for message in examples)]

    def laid_out(self, line: str) -> list[Message]:
        main, *rest = WindowChat.laid_out(self, line)
        messages: list[Message] = [main, {"role": "system", "content": self.told(line)}, *rest]
        # A short chat's note stands above its first message.
        place = max(len(messages) - NOTE_DEPTH, self._pinned + 1)
        return [*messages[:place], {"role": "system", "content": self._note}, *messages[place:]]
