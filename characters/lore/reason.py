"""Why an entry didn't fire, in words for whoever wrote the book."""

from enum import StrEnum


class Reason(StrEnum):
    """The first thing that stood against an entry, in the order in which it is looked for."""

    DISABLED = "it is disabled"
    EMPTY = "its content is empty"
    CHARACTER = "it is for other characters"
    TRIGGER = "it is for other kinds of replies"
    FORBIDDEN = "it says @@dont_activate"
    ONCE = "it fired before, and says @@dont_activate_after_match"
    GREETING = "it is for another greeting"
    USER_ICON = "it is for another user icon"
    TOO_FEW_REPLIES = "it waits for more replies (@@activate_only_after)"
    NOT_THIS_REPLY = "it is not its turn (@@activate_only_every)"
    DELAY = "the chat is shorter than its delay"
    COOLDOWN = "it is on cooldown"
    FROZEN = "it is written into the history already"
    RECURSION = "it waits for a round of recursion that did not come"
    NO_KEYS = "it has no keys"
    NOT_FOUND = "none of its keys was found in the text that is scanned"
    BROKEN = "a regular expression among its keys can't be run, so V3 lets none of them match"
    SECONDARY = "a key was found, but its secondary keys say no"
    ADDITIONAL = "a key was found, but none of its @@additional_keys"
    EXCLUDED = "one of its @@exclude_keys was found"
    EFFORT = "the keys of these books cost too much to search for"
    GROUP = "another entry of its group was told"
    PROBABILITY = "chance was against it"
    BUDGET = "it did not fit into the token budget"
