"""Where a session's prompt has lore, notes and instructions: in its tail, or literally where the card says."""

from typing import Any

import pytest

from tests.live import Live
from tests.lore_sessions import entry, open_with, say


@pytest.mark.anyio
async def test_literal_layout_puts_lore_notes_and_instructions_where_they_say(live: Live) -> None:
    ours = {"layout": "compat"}
    data = {
        "post_history_instructions": "Be brief.",
        "extensions": {"opencharacter": ours, "depth_prompt": {"prompt": "Deep.", "depth": 2, "role": "user"}},
    }
    session = await open_with(live, data, note={"text": "A note.", "depth": 1})
    for text in ("One.", "Two."):
        await say(live, session, text)
    told = await say(live, session, "A dragon!")
    assert told.index("Dragons bite Sam.") < told.index("Good morning.")
    said = [part.partition("\n\n")[::2] for part in told.split("<|start_header_id|>")[1:]]
    shown = [(role.removesuffix("<|end_header_id|>"), text.removesuffix("<|eot_id|>")) for role, text in said]
    reply = ("assistant", "word0 word1 word2 word3 word4 word5 ")
    assert shown[-8:] == [
        reply,
        ("user", "Two."),
        ("user", "Deep."),
        reply,
        ("system", "A note."),
        ("user", "A dragon!"),
        ("system", "Be brief."),
        ("assistant", ""),
    ]


@pytest.mark.anyio
async def test_default_layout_keeps_notes_in_the_tail(live: Live) -> None:
    data = {"post_history_instructions": "Be brief.", "extensions": {"depth_prompt": {"prompt": "Deep.", "depth": 2}}}
    session = await open_with(live, data, note={"text": "A note."})
    told = await say(live, session, "A dragon!")
    tail = "# World\nDragons bite Sam.\n\nDeep.\n\nA note.\n\nBe brief.<|eot_id|><|start_header_id|>user"
    assert tail in told


@pytest.mark.anyio
async def test_literal_layout_keeps_what_chance_said_of_the_card(live: Live) -> None:
    data = {"description": "Wears {{roll:1000000}}.", "extensions": {"opencharacter": {"layout": "compat"}}}
    session = await open_with(live, data)
    heads = [(await say(live, session, text)).partition("Good morning.")[0] for text in ("One.", "Two.")]
    assert heads[0] == heads[1]


@pytest.mark.anyio
async def test_literal_layout_joins_what_stands_at_one_depth_as_sillytavern_does(live: Live) -> None:
    def placed(content: str, position: int, role: int = 0) -> dict[str, Any]:
        return entry("sea", content, extensions={"position": position, "depth": 1, "role": role})

    book = {
        "extensions": {},
        "entries": [
            placed("Lore.", 4),
            placed("User's lore.", 4, 1),
            placed("Assistant's lore.", 4, 2),
            placed("Top.", 2),
            placed("Bottom.", 3),
        ],
    }
    extensions = {"opencharacter": {"layout": "compat"}, "depth_prompt": {"prompt": "Deep.", "depth": 1}}
    note = {"text": "A note.", "depth": 1}
    session = await open_with(live, {"character_book": book, "extensions": extensions}, note=note)
    told = await say(live, session, "The sea!")
    said = [part.partition("<|end_header_id|>\n\n")[::2] for part in told.split("<|start_header_id|>")[1:]]
    assert [(role, text.removesuffix("<|eot_id|>")) for role, text in said][-5:] == [
        ("assistant", "Assistant's lore."),
        ("user", "User's lore."),
        ("system", "Top.\nA note.\nBottom.\nDeep.\nLore."),
        ("user", "The sea!"),
        ("assistant", ""),
    ]
