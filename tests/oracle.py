"""What a session must be after anything that is done to it: a tree in plain Python, which knows no store and no ids."""

from collections.abc import Sequence
from dataclasses import dataclass, field

MOST_UNDONE = 50


class RefusedError(Exception):
    """What is asked for can't be done, and changes nothing."""


class UnclearError(Exception):
    """Two copies of one message stand side by side: which of them is the newer nobody can tell."""


@dataclass
class Node:
    """A message. `age` orders siblings; copies have that of what they copy."""

    parent: int | None
    role: str
    content: str
    age: int

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
        self._move(parent if following else self._copy(self._followers(number), parent))

    def select(self, number: int, *, following: bool) -> None:
        self._move(self._leaf(number) if following else number)

    def take_back(self) -> None:
        if not self.undo:
            raise RefusedError
        self.tip = self.undo.pop()
        self.version += 1

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

    def fork(self, number: int) -> "Tree":
        forked = Tree(clock=self.clock)
        copies: dict[int | None, int | None] = {None: None}
        for step in self.path(number):
            for sibling in self._siblings(step):
                node = self.nodes[sibling]
                copies[sibling] = len(forked.nodes)
                forked.nodes.append(Node(copies[node.parent], node.role, node.content, node.age))
        forked.tip = copies[number]
        forked.marks = {name: copy for name, marked in self.marks.items() if (copy := copies.get(marked)) is not None}
        return forked

    def _siblings(self, number: int) -> list[int]:
        node = self.nodes[number]
        return [other for other, it in enumerate(self.nodes) if it.parent == node.parent and it.role == node.role]

    def _leaf(self, number: int) -> int:
        if number in (active := self.path(self.tip)):
            return active[-1]
        while children := [child for child, node in enumerate(self.nodes) if node.parent == number]:
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
            self.nodes.append(Node(parent, node.role, node.content, node.age))
            parent = len(self.nodes) - 1
        return parent

    def _answer(self, parent: int | None, role: str, texts: Sequence[str]) -> None:
        first, *_ = [self._add(parent, role, text) for text in texts]
        self._move(first)

    def _add(self, parent: int | None, role: str, content: str) -> int:
        self.clock += 1
        self.nodes.append(Node(parent, role, content, self.clock))
        return len(self.nodes) - 1

    def _move(self, tip: int | None) -> None:
        if tip != self.tip:
            self.undo = [*self.undo, self.tip][-MOST_UNDONE:]
        self.tip = tip
        self.version += 1
