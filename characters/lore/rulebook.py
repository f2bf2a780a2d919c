"""From a lorebook to its rules: what the specifications, SillyTavern and RisuAI mean by an entry's fields."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from characters.lore.coercion import Coercion
from characters.lore.condition import build_condition
from characters.lore.decorators import split_decorators
from characters.lore.groups import DEFAULT_WEIGHT, Membership
from characters.lore.key import Room
from characters.lore.keyring import build_keyring
from characters.lore.options import Options
from characters.lore.placement import DEFAULT_DEPTH, Placement, build_placement
from characters.lore.rule import Defaults, Recursion, Rule, Rulebook
from characters.lore.timing import Timing
from characters.lorebook import Lorebook, LoreEntry
from characters.macros import is_volatile

# More entries than these are kept in the book, and never fire.
MAX_ENTRIES = 10_000
# What an entry can ask to have read beside the chat: SillyTavern's `match…` options.
SOURCES = (
    "persona_description",
    "character_description",
    "character_personality",
    "character_depth_prompt",
    "scenario",
    "creator_notes",
)


def build_rulebook(
    book: Lorebook,
    name: str = "",
    defaults: Defaults = Defaults(),
    expand: Callable[[str], str] = str,
) -> Rulebook:
    """The rules of `book`, with a warning for each thing in it that can't be carried out.

    `name` tells the book from others of the same chat. `expand` replaces macros in keys, so a rulebook is for one
    character and one user: build it once a session.
    """
    coercion = Coercion()
    name = name or book.name or ""
    if len(book.entries) > MAX_ENTRIES:
        coercion.warn(f"only the first {MAX_ENTRIES} entries can fire")
    entries = book.entries[:MAX_ENTRIES]
    reading = _Reading(book, name, defaults, expand, coercion, Room())
    rules = tuple(_build_rule(reading, entry, uid) for entry, uid in zip(entries, _uids(entries), strict=True))
    budget = book.token_budget
    if budget is not None and budget <= 0:
        coercion.warn("a `token_budget` of 0 or less is read as none")
    return Rulebook(name, rules, int(budget) if budget and budget > 0 else None, tuple(coercion.warnings))


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the entries of a book share while it is read."""

    book: Lorebook
    name: str
    defaults: Defaults
    expand: Callable[[str], str]
    coercion: Coercion
    room: Room


def _uids(entries: Sequence[LoreEntry]) -> list[str]:
    """What each entry is called: its id, where no other has the same and it can be no place's, else its place."""
    ids = [None if entry.id is None else str(entry.id) for entry in entries]
    often = Counter(ids)
    return [
        f"#{place}" if uid is None or often[uid] > 1 or uid.startswith("#") else uid for place, uid in enumerate(ids)
    ]


def _build_rule(reading: _Reading, entry: LoreEntry, uid: str) -> Rule:
    place, defaults = f"entry {uid}", reading.defaults
    decorators, content = split_decorators(entry.content, reading.coercion, place)
    options = Options(entry, decorators, reading.coercion, place)
    keyring = build_keyring(
        entry,
        options,
        case_sensitive=defaults.case_sensitive,
        whole_words=defaults.whole_words,
        expand=reading.expand,
        room=reading.room,
    )
    if options.strict_regex and entry.constant:
        options.warn("has `use_regex`, with which V3 ignores `constant`")
    if options.flag("vectorized"):
        options.warn("is searched for by meaning at home; here only its keys find it")
    priority = entry.insertion_order if entry.priority is None else entry.priority
    keys = keyring.keys
    return Rule(
        uid=f"{reading.name}/{uid}",
        book=reading.name,
        name=(entry.name or entry.comment or "").strip() or (keys[0].text if keys else uid),
        content=content,
        keyring=keyring,
        enabled=entry.enabled,
        constant=bool(entry.constant) and not options.strict_regex,
        forced=True if "activate" in decorators else False if "dont_activate" in decorators else None,
        strict_regex=options.strict_regex,
        scan_depth=_read_scan_depth(options, reading.book, defaults),
        sources=tuple(source for source in SOURCES if options.flag(f"match_{source}")),
        condition=build_condition(options),
        recursion=_read_recursion(options, reading.book, defaults),
        timing=Timing(*(options.count(name) for name in ("sticky", "cooldown", "delay"))),
        membership=_read_membership(options),
        probability=_read_probability(options),
        order=entry.insertion_order,
        priority=float(decorators["priority"]) if "priority" in decorators else priority,
        ignores_budget=bool(options.flag("ignore_budget")),
        expendable="ignore_on_max_context" in decorators,
        placement=_read_placement(options, entry.position),
        freezes=options.freezes,
        disables=decorators.get("disable_ui_prompt", ""),
        volatile=is_volatile(content),
    )


def _read_scan_depth(options: Options, book: Lorebook, defaults: Defaults) -> int:
    if "scan_depth" in options.decorators:
        return int(options.decorators["scan_depth"])
    shared = defaults.scan_depth if book.scan_depth is None else max(0, int(book.scan_depth))
    return options.count("scan_depth", shared)


def _read_recursion(options: Options, book: Lorebook, defaults: Defaults) -> Recursion:
    recursive = defaults.recursive if book.recursive_scanning is None else book.recursive_scanning
    until = options.value("delay_until_recursion")
    return Recursion(
        reads=recursive and not options.flag("exclude_recursion") and "no_recursive_search" not in options.decorators,
        is_read="recursive" in options.decorators
        or (recursive and not options.flag("prevent_recursion") and "unrecursive" not in options.decorators),
        level=int(until) if isinstance(until, bool) else options.count("delay_until_recursion"),
    )


def _read_membership(options: Options) -> Membership:
    names = (name.strip() for name in options.text("group").split(","))
    weight = options.number("group_weight")
    return Membership(
        tuple(dict.fromkeys(name for name in names if name)),
        insists=bool(options.flag("group_override")),
        weight=DEFAULT_WEIGHT if weight is None else max(0, weight),
        scored=options.flag("use_group_scoring"),
    )


def _read_probability(options: Options) -> float:
    """In percent: the decorator's, SillyTavern's where it is in use, or RisuAI's."""
    if "probability" in options.decorators:
        return float(options.decorators["probability"])
    if options.flag("use_probability") is False:
        return 100
    said = (options.number(name) for name in ("probability", "risu_activationPercent"))
    return next((percent for percent in said if percent is not None), 100)


def _read_placement(options: Options, position: str | None) -> Placement:
    return build_placement(
        position,
        options.decorators,
        number=options.number("position"),
        depth=options.count("depth", DEFAULT_DEPTH),
        role=options.count("role"),
        outlet=options.text("outlet_name"),
    )
