r"""JavaScript's regular expressions in RE2's spelling: as SillyTavern and RisuAI have them.

Only spelling: `\u0041` is `\x{0041}`, `[^]` is any character. What RE2 can't do (lookaround, backreferences) is left as
it is, and RE2 refuses it.
"""

import re

_ESCAPE = (
    r"\\u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|\\u(?P<point>[0-9a-fA-F]{4})"
    r"|\\u\{(?P<braced>[0-9a-fA-F]{1,6})\}"
    r"|\\c(?P<control>[A-Za-z])"
    r"|\\(?P<property>[pP])\{(?:Script|sc|Script_Extensions|scx|General_Category|gc)=(?P<value>\w+)\}"
    r"|\\."
)
_OUTSIDE = re.compile(rf"{_ESCAPE}|\[(?P<negated>\^?)(?P<body>(?:\\.|[^\\\]])*)\]", re.DOTALL)
_INSIDE = re.compile(rf"{_ESCAPE}|(?P<bracket>\[)", re.DOTALL)
_SLASHED = re.compile(r"/(.+)/([dgimsuvy]*)", re.DOTALL)
_BARE_SLASH = re.compile(r"(?:^|[^\\])(?:\\\\)*/")


def parse_slashed(text: str) -> tuple[str, str] | None:
    """Pattern and flags of a `/pattern/flags`; None for any other text, and where a slash inside isn't escaped."""
    match = _SLASHED.fullmatch(text)
    if not match or _BARE_SLASH.search(match[1]):
        return None
    return match[1], match[2]


def to_slashed(pattern: str, *, ignore_case: bool) -> str:
    """`pattern` spelled as `/pattern/flags`."""
    escaped = re.sub(r"(\\.)|/", lambda match: match[1] or r"\/", pattern, flags=re.DOTALL)
    return f"/{escaped}/{'i' if ignore_case else ''}"


def to_re2(pattern: str, flags: str = "") -> str:
    """`pattern` for RE2. Of the flags only i, m and s change what matches; the others say where a search begins."""
    ours = "".join(flag for flag in "ims" if flag in flags)
    return (f"(?{ours})" if ours else "") + _OUTSIDE.sub(_respell, pattern)


def _respell(match: re.Match[str]) -> str:
    named = match.groupdict()
    if named.get("body") is not None:
        if not named["body"]:
            return r"[\s\S]" if named["negated"] else r"[^\s\S]"
        return f"[{named['negated']}{_INSIDE.sub(_respell, named['body'])}]"
    if named.get("bracket"):
        return r"\["
    if named["high"]:
        return rf"\x{{{ord(bytes.fromhex(named['high'] + named['low']).decode('utf-16-be')):x}}}"
    if point := named["point"] or named["braced"]:
        return rf"\x{{{point}}}"
    if named["control"]:
        return rf"\x{{{ord(named['control'].upper()) - 64:x}}}"
    if named["property"]:
        return rf"\{named['property']}{{{named['value']}}}"
    return match[0]
