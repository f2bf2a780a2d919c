"""What a session must be after anything that is done to it: a tree in plain Python, which knows no store and no ids."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace

MOST_UNDONE = 50
# Less than lies between any two messages that aren't copies.
A_LITTLE = 1e-6


class RefusedError(Exception):
    """What is asked for can't be done, and changes nothing."""


class UnclearError(Exception):
    """Two copies of one message are there: which of them is the newer nobody can tell."""


@dataclass
class Node:
    """A message. `age` orders siblings; copies have that of what they copy, or a little more."""

    parent: int | None
    role: str
    content: str
    age: float
    removed: bool = False

    def is_like(self, other: "Node") -> bool:
        return (self.parent, self.role, self.content) == (other.parent, other.role, other.content)


@dataclass
class Tree:
    """Messages by their number, each after its parent."""

    nodes: list[Node] = field(default_factory=list)
    tip: int | None = None
    undo: list[int | None] = field(default_factory=list)
    marks: dict[str, int] = field(default_factory=dict)
    version: int = 1
    clock: int = 0
    memory: str = "on"
    memories: list[str] = field(default_factory=list)

    def path(self, tip: int | None) -> list[int]:
        path: list[int] = []
        while tip is not None:
            path.append(tip)
            tip = self.nodes[tip].parent
        return path[::-1]

    def spoken(self) -> list[tuple[str, str]]:
        return [(self.nodes[number].role, self.nodes[number].content) for number in self.path(self.tip)]

    def names(self, number: int) -> list[str]:
        return sorted(name for name, marked in self.marks.items() if marked == number)

    def reply(self, said: str, texts: Sequence[str]) -> None:
        self._answer(self._add(self.tip, "user", said), "assistant", texts)

    def speak(self, texts: Sequence[str]) -> None:
        self._answer(self.tip, "assistant", texts)

    def follow(self, path: Sequence[int], lines: Sequence[tuple[str, str]], texts: Sequence[str]) -> None:
        """A client shows the messages of `path` and then `lines`, of which the last one is the user's."""
        shown = [*((self.nodes[number].role, self.nodes[number].content) for number in path), *lines]
        parent, known = self._find(shown)
        for role, content in shown[known:]:
            parent = self._add(parent, role, content)
        self._answer(parent, "assistant", texts)

    def regenerate(self, texts: Sequence[str]) -> None:
        if self.tip is None:
            raise RefusedError
        last = self.nodes[self.tip]
        if last.role == "user":
            self._answer(self.tip, "assistant", texts)
        elif last.parent is None:
            raise RefusedError
        else:
            self._answer(last.parent, "assistant", texts)

    def go_on(self, text: str) -> None:
        if self.tip is None or self.nodes[self.tip].role != "assistant":
            raise RefusedError
        last = self.nodes[self.tip]
        self._answer(last.parent, "assistant", [last.content + text])

    def impersonate(self, begun: str, text: str) -> None:
        self._answer(self.tip, "user", [begun + text])

    def edit(self, number: int, content: str) -> int:
        node = self.nodes[number]
        followers = self._followers(number)
        edited = self._add(node.parent, node.role, content)
        self._move(self._copy(followers, edited))
        return edited

    def delete(self, number: int, *, following: bool) -> None:
        parent = self.nodes[number].parent
        if number not in self.path(self.tip):
            self.nodes[number].removed = True
            self.version += 1
        elif following:
            self._show(parent)
        else:
            self._move(self._copy(self._followers(number), parent))

    def select(self, number: int, *, following: bool) -> None:
        self._show(self._leaf(number) if following else number)

    def take_back(self) -> None:
        if not self.undo:
            raise RefusedError
        tip, *undo = self.undo[-1], *self.undo[:-1]
        self._show(tip)
        self.undo = undo

    def mark(self, name: str, number: int) -> None:
        self.marks[name] = number
        self.version += 1

    def unmark(self, name: str) -> None:
        if self.marks.pop(name, None) is None:
            raise RefusedError
        self.version += 1

    def restore(self, name: str) -> None:
        if name not in self.marks:
            raise RefusedError
        self.select(self.marks[name], following=False)

    def switch_memory(self, way: str) -> None:
        self.memory = way
        self.version += 1

    def bring_in(self) -> "Tree":
        """All that was said, as another session that knows nothing else; a message has one name."""
        places: dict[int | None, int | None] = {None: None}
        nodes: list[Node] = []
        for number, node in enumerate(self.nodes):
            if node.parent in places and not self._is_hidden(number):
                places[number] = len(nodes)
                nodes.append(replace(node, parent=places[node.parent], removed=False))
        names = {marked: name for name, marked in self.marks.items()}
        marks = {name: place for marked, name in names.items() if (place := places.get(marked)) is not None}
        return Tree(nodes, places[self.tip], marks=marks, clock=self.clock)

    def fork(self, number: int) -> "Tree":
        forked = Tree(clock=self.clock, memory=self.memory, memories=[*self.memories])
        copies: dict[int | None, int | None] = {None: None}
        for step in self.path(number):
            for sibling in self._siblings(step):
                node = self.nodes[sibling]
                copies[sibling] = len(forked.nodes)
                forked.nodes.append(Node(copies[node.parent], node.role, node.content, node.age))
        forked.tip = copies[number]
        forked.marks = {name: copy for name, marked in self.marks.items() if (copy := copies.get(marked)) is not None}
        return forked

    def _find(self, shown: Sequence[tuple[str, str]]) -> tuple[int | None, int]:
        """The message with which the longest beginning ends that the tree knows, and how many lines that has."""
        parents: set[int | None] = {None}
        if shown[0][0] == "user":
            # A client may leave the greeting out.
            parents |= {root for root in self._under({None}) if self.nodes[root].role == "assistant"}
        found: list[int] = []
        for known, (role, content) in enumerate(shown):
            alike = [
                number
                for number in self._under(parents)
                if (self.nodes[number].role, self.nodes[number].content.strip()) == (role, content.strip())
            ]
            if not alike:
                return (self._likeliest(found) if found else self._greeting(shown[0][0])), known
            found, parents = alike, {*alike}
        return self._likeliest(found), len(shown)

    def _greeting(self, role: str) -> int | None:
        """What stands before a first line that nobody knows: what the session was opened with."""
        roots = self._under({None})
        if not roots or role != "user":
            return None
        oldest = min(self.nodes[root].age for root in roots)
        first, *others = [root for root in roots if self.nodes[root].age == oldest]
        if others:
            raise UnclearError
        return first if self.nodes[first].role == "assistant" else None

    def _likeliest(self, found: Sequence[int]) -> int:
        """Of messages that say the same, the one on the active branch, else the newest."""
        active = set(self.path(self.tip))
        found = [number for number in found if number in active] or found
        newest = max(self.nodes[number].age for number in found)
        number, *others = [number for number in found if self.nodes[number].age == newest]
        if others:
            raise UnclearError
        return number

    def _under(self, parents: Container[int | None]) -> list[int]:
        return [number for number, node in enumerate(self.nodes) if node.parent in parents]

    def _siblings(self, number: int) -> list[int]:
        node = self.nodes[number]
        beside = [other for other, it in enumerate(self.nodes) if it.parent == node.parent and it.role == node.role]
        shown = [other for other in beside if not self._is_hidden(other)]
        return shown if number in shown else [number]

    def _is_hidden(self, number: int) -> bool:
        """Whether it was removed from those beside it, and the active branch doesn't go through it."""
        return self.nodes[number].removed and number not in self.path(self.tip)

    def _leaf(self, number: int) -> int:
        if number in (active := self.path(self.tip)):
            return active[-1]
        while children := [child for child in self._under({number}) if not self._is_hidden(child)]:
            newest = max(self.nodes[child].age for child in children)
            number, *others = [child for child in children if self.nodes[child].age == newest]
            if others:
                raise UnclearError
        return number

    def _followers(self, number: int) -> list[int]:
        path = self.path(self._leaf(number))
        return path[path.index(number) + 1 :]

    def _copy(self, followers: Sequence[int], parent: int | None) -> int | None:
        for follower in followers:
            node = self.nodes[follower]
            parent = self._put(Node(parent, node.role, node.content, node.age))
        return parent

    def _answer(self, parent: int | None, role: str, texts: Sequence[str]) -> None:
        first, *_ = [self._add(parent, role, text) for text in texts]
        self._move(first)

    def _add(self, parent: int | None, role: str, content: str) -> int:
        self.clock += 1
        return self._put(Node(parent, role, content, self.clock))

    def _put(self, node: Node) -> int:
        """Add it, as the newest of those beside it: a copy may be older than they are."""
        beside = [self.nodes[number].age for number in self._under({node.parent})]
        if beside and node.age <= max(beside):
            node.age = max(beside) + A_LITTLE
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _show(self, tip: int | None) -> None:
        """Move to a branch of which nothing is removed any more."""
        for number in self.path(tip):
            self.nodes[number].removed = False
        self._move(tip)

    def _move(self, tip: int | None) -> None:
        if tip != self.tip:
            self.undo = [*self.undo, self.tip][-MOST_UNDONE:]
        self.tip = tip
        self.version += 1
