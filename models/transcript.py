"""The prompt of a transcript that its client keeps, and sends whole with each request: where to cut it.

Of earlier requests at most the ids of replies are known, so a cut made anew would slide with each message, and every
time throw the engine's cache away. It is anchored in the text instead.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate
from types import MappingProxyType

from models.examples import Line
from models.prompt import KEEP_SHARE, Insertion, Layout, Prompt, count_tokens
from models.renderer import Renderer, Turn

# What a cut leaves of history's room at least, where the turns are short enough.
LEAST_SHARE = 0.5
HALVINGS = 6
# The ids of lines by their places, where they are known.
Known = Mapping[int, Sequence[int]]
NONE_KNOWN: Known = MappingProxyType({})


def digest_lines(scope: str, lines: Sequence[Line]) -> list[str]:
    """For each line, a digest of `scope` and of all that was said up to it: who said it, and the trimmed text."""
    digests: list[str] = []
    before = scope
    for line in lines:
        text = line.text.replace("\r\n", "\n").strip()
        before = blake2b(f"{before}\0{line.role}\0{text}".encode(), digest_size=16).hexdigest()
        digests.append(before)
    return digests


def build_transcript_prompt(
    renderer: Renderer,
    head: Sequence[Turn],
    lines: Sequence[Line],
    *,
    inserted: Sequence[Insertion] = (),
    known: Known = NONE_KNOWN,
    limit_tokens: int,
) -> Prompt:
    """Prompt ids for the next reply: head and lines, with what is inserted among them; `known` ids as they are.

    When that exceeds `limit_tokens`, history begins with the first line of the user's past a multiple of a block, in
    bytes from the transcript's beginning. A block is as long as what a session's cut takes out, going by the head's
    bytes a token. As the transcript grows the start stays for that many tokens, then moves by one block; where that
    would leave less than LEAST_SHARE of the room, blocks are halved. Lines too old to be in any prompt aren't encoded.

    Raises PromptTooLong when head, insertions and the last exchange alone don't fit.
    """
    turns = _encode_latest(renderer, lines, known, limit_tokens)
    skipped = len(lines) - len(turns)
    layout = Layout(renderer, head, turns, inserted)
    if not skipped and len(ids := layout.render(0)) <= limit_tokens:
        return Prompt(ids, 0)
    least = layout.kept_tokens(limit_tokens, LEAST_SHARE)
    starts = layout.starts(0)
    longest = bisect_left(starts, -limit_tokens, key=layout.shrinking)
    shortest = bisect_right(starts, -least, key=layout.shrinking)
    fitting = [skipped + index for index in starts[longest : max(shortest, longest + 1)]]
    head_tokens = count_tokens(head)
    head_bytes = sum(len(renderer.decode(turn.token_ids).encode()) for turn in head)
    bytes_a_token = head_bytes / head_tokens if head_tokens else 4
    # Whatever is inserted: it may be other lore each time, and must not move the cut.
    block = (limit_tokens - head_tokens) * (1 - KEEP_SHARE) * bytes_a_token
    start = _anchor(lines, fitting, block) if fitting else skipped + layout.cut(0, limit_tokens)
    return Prompt(layout.render(start - skipped), start)


def _anchor(lines: Sequence[Line], fitting: Sequence[int], block_bytes: float) -> int:
    """Of the user's lines at `fitting`, the first one past a multiple of the block, or of a half, a quarter … of it."""
    said = [0, *accumulate(len(line.text.encode()) for line in lines)]
    users = [index for index, line in enumerate(lines) if line.role == "user"]
    before = dict(zip(users, [0, *users], strict=False))
    for halvings in range(HALVINGS):
        block = block_bytes / 2**halvings
        for index in fitting:
            if said[before[index]] // block != said[index] // block:
                return index
    return fitting[0]


def _encode_latest(renderer: Renderer, lines: Sequence[Line], known: Known, limit_tokens: int) -> list[Turn]:
    """The last lines as turns: those of which a prompt could hold some, and the last exchange in any case."""
    last_user = max((index for index, line in enumerate(lines) if line.role == "user"), default=len(lines))
    turns: list[Turn] = []
    tokens = 0
    for index, line in reversed(list(enumerate(lines))):
        if tokens > limit_tokens and index < last_user:
            break
        turns.insert(0, Turn(line.role, known.get(index) or renderer.encode(line.text)))
        tokens += len(turns[0].token_ids)
    return turns
