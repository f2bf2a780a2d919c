"""Looking for keys in what a turn has to read, each text once, and never for long."""

from collections.abc import Sequence

from characters.lore.chat import MARK, Chat, told_text
from characters.lore.key import WORDS, Key, compose, fold, is_whole
from characters.lore.keyring import Logic
from characters.lore.reason import Reason
from characters.lore.rule import Rule

# What searching may cost in one turn: about 0.6 s where every key is hostile (6 ns a unit), a hundredth of that in
# books that people write. It counts steps and no time, so that a turn that is replayed ends the same way.
EFFORT = 100_000_000
PLAIN_COST = 32
PLAIN_CHARS = 8


class Text:
    """A text in the forms in which keys are compared, each made when it is first asked for."""

    def __init__(self, text: str) -> None:
        self._forms = {True: compose(text)}
        self._words: dict[bool, frozenset[str]] = {}
        self._encoded: bytes | None = None

    def form(self, case_sensitive: bool) -> str:
        if case_sensitive not in self._forms:
            self._forms[case_sensitive] = fold(self._forms[True])
        return self._forms[case_sensitive]

    def words(self, case_sensitive: bool) -> frozenset[str]:
        if case_sensitive not in self._words:
            self._words[case_sensitive] = frozenset(WORDS.findall(self.form(case_sensitive)))
        return self._words[case_sensitive]

    def encoded(self) -> bytes:
        if self._encoded is None:
            self._encoded = self._forms[True].encode("utf-8", "replace")
        return self._encoded


class Scope:
    """What rules with one scan depth read, and how much of it each key was looked for in; -1 says that it was found."""

    def __init__(self, texts: list[Text]) -> None:
        self.texts = texts
        self.searched: dict[int, int] = {}


class Search:
    """What one turn reads. Remembers what was found where, so that a round of recursion reads only what is new."""

    def __init__(self, chat: Chat, effort: int = EFFORT) -> None:
        self._chat = chat
        self._effort = effort
        self._told: list[Text] = []
        # By scan depth and sources.
        self._scopes: dict[tuple[int, tuple[str, ...]], Scope] = {}

    def tell(self, contents: Sequence[str]) -> None:
        """Let keys be found in what a round told, too: from then on, ask only for entries that read others."""
        text = Text("\n".join(MARK + told_text(content) for content in contents))
        self._told.append(text)
        for scope in self._scopes.values():
            scope.texts.append(text)

    def match(self, rule: Rule) -> Key | Reason:
        """The key that finds `rule`, or why none does."""
        ring = rule.keyring
        if not ring.keys:
            return Reason.NO_KEYS
        if self._effort <= 0:
            return Reason.EFFORT
        if rule.strict_regex and any(key.broken for key in ring.keys):
            return Reason.BROKEN
        hit = next((key for key in ring.keys if self._find(rule, key)), None)
        if hit is None:
            return Reason.NOT_FOUND if self._effort > 0 else Reason.EFFORT
        if ring.additional and not any(self._find(rule, key) for key in ring.additional):
            return Reason.ADDITIONAL
        if any(self._find(rule, key) is not False for key in ring.excluded):
            return Reason.EXCLUDED
        if ring.excluded_together and all(self._find(rule, key) is not False for key in ring.excluded_together):
            return Reason.EXCLUDED
        if ring.secondary and not _agree(ring.logic, [self._find(rule, key) for key in ring.secondary]):
            return Reason.SECONDARY
        return hit

    def score(self, rule: Rule) -> int:
        """How many of the rule's keys are found, as SillyTavern counts for inclusion groups."""
        ring = rule.keyring
        primary = sum(self._find(rule, key) is True for key in ring.keys)
        secondary = sum(self._find(rule, key) is True for key in ring.secondary)
        counts = ring.logic is Logic.AND_ANY or (ring.logic is Logic.AND_ALL and secondary == len(ring.secondary))
        return primary + (secondary if primary and counts else 0)

    def _find(self, rule: Rule, key: Key) -> bool | None:
        """Whether `key` is in what `rule` reads; None where that can't be known."""
        if key.broken:
            return None
        scope = self._scope(rule)
        done = scope.searched.get(id(key), 0)
        if done < 0:
            return True
        for text in scope.texts[done:]:
            if self._effort <= 0:
                return None
            if self._is_in(key, text):
                scope.searched[id(key)] = -1
                return True
        scope.searched[id(key)] = len(scope.texts)
        return False

    def _scope(self, rule: Rule) -> Scope:
        kind = (rule.scan_depth, rule.sources)
        if kind not in self._scopes:
            self._scopes[kind] = Scope([Text(self._chat.text(*kind)), *self._told])
        return self._scopes[kind]

    def _is_in(self, key: Key, text: Text) -> bool:
        if key.pattern is not None:
            encoded = text.encoded()
            self._effort -= key.size * len(encoded)
            return key.pattern.search(encoded) is not None
        haystack = text.form(key.case_sensitive)
        self._effort -= PLAIN_COST + len(haystack) // PLAIN_CHARS
        if not key.whole_words:
            return key.needle in haystack
        if key.is_word:
            return key.needle in text.words(key.case_sensitive)
        start = haystack.find(key.needle)
        while start >= 0 and not is_whole(key.needle, haystack, start):
            self._effort -= PLAIN_COST
            start = haystack.find(key.needle, start + 1)
        return start >= 0


def _agree(logic: Logic, found: list[bool | None]) -> bool:
    """Whether the secondary keys let an entry fire. One that can't be searched for is never taken for an answer."""
    if logic is Logic.AND_ANY:
        return any(one is True for one in found)
    if logic is Logic.AND_ALL:
        return all(one is True for one in found)
    if logic is Logic.NOT_ANY:
        return all(one is False for one in found)
    return any(one is False for one in found)
