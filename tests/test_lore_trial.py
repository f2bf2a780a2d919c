"""POST /lorebooks/test: which entries fire for a text or a chat, and why the others don't."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from app.store.lorebooks import MOST_READERS, LorebookStore
from characters.lore.activation import activate
from characters.lore.reason import Reason
from tests.faults import until
from tests.live import Live
from tests.lore import Entry, entry, world

TEST = "/lorebooks/test"


@pytest.fixture
def live(emptied: Live) -> Live:
    return emptied


async def ask(live: Live, entries: Sequence[Entry], text: str = "ash", **fields: Any) -> dict[str, Any]:
    """What becomes of a book with these entries."""
    said = {} if "messages" in fields else {"text": text}
    body = {"lorebook": {"name": "book", "entries": list(entries)}} | said | fields
    answer = await live.client.post(TEST, json=body)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def fired(told: dict[str, Any]) -> list[str]:
    return [one["name"] for one in told["fired"]]


def reasons(told: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["reason"] for one in told["not_fired"]}


def say(*said: str) -> list[dict[str, str]]:
    """A chat in which user and assistant take turns, the user first."""
    return [{"role": "user" if place % 2 == 0 else "assistant", "content": text} for place, text in enumerate(said)]


@pytest.mark.anyio
async def test_entry_that_fires_is_told_whole(live: Live) -> None:
    made = entry("ash", content="Ash trees grow here.", name="trees", id=7, insertion_order=3)
    told = await ask(live, [made, entry("elm", id=8)], "Under the ASH.")
    (one,) = told["fired"]
    assert one.items() >= {"entry": "book/7", "name": "trees", "why": "key: ash", "part": "tail", "order": 3}.items()
    assert one["content"] == made["content"]
    assert one["tokens"] == len(live.engine.renderer.encode(made["content"] + "\n"))
    assert told["not_fired"] == [{"entry": "book/8", "name": "elm", "reason": Reason.NOT_FOUND}]
    assert told["warnings"] == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (entry("ash", enabled=False), Reason.DISABLED),
        ({"keys": ["ash"], "content": " "}, Reason.EMPTY),
        (entry("ash", extensions={"character_filter": {"names": ["Somebody"]}}), Reason.CHARACTER),
        (entry("ash", extensions={"triggers": ["continue"]}), Reason.TRIGGER),
        (entry("ash", content="@@dont_activate\nlore"), Reason.FORBIDDEN),
        (entry("ash", content="@@activate_only_after 3\nlore"), Reason.TOO_FEW_REPLIES),
        (entry("ash", extensions={"delay": 9}), Reason.DELAY),
        (entry("ash", extensions={"delay_until_recursion": True}), Reason.RECURSION),
        (entry(), Reason.NO_KEYS),
        (entry("oak"), Reason.NOT_FOUND),
        (entry("/(?=ash)/"), Reason.NOT_FOUND),
        (entry("(?=ash)", "ash", use_regex=True), Reason.BROKEN),
        (entry("ash", secondary_keys=["oak"], selective=True), Reason.SECONDARY),
        (entry("ash", content="@@additional_keys oak\nlore"), Reason.ADDITIONAL),
        (entry("ash", content="@@exclude_keys ash\nlore"), Reason.EXCLUDED),
        (entry("ash", extensions={"probability": 0, "useProbability": True}), Reason.PROBABILITY),
        (entry("ash", content="word " * 3000), Reason.BUDGET),
    ],
    ids=lambda value: value.name if isinstance(value, Reason) else "",
)
async def test_entry_that_doesnt_fire_says_why(live: Live, made: Entry, reason: Reason) -> None:
    told = await ask(live, [{**made, "name": "entry"}])
    assert (fired(told), reasons(told)) == ([], {"entry": reason})


@pytest.mark.anyio
async def test_one_of_a_group_fires(live: Live) -> None:
    told = await ask(live, [entry("ash", name=str(number), extensions={"group": "trees"}) for number in range(4)])
    assert len(told["fired"]) == 1
    assert list(reasons(told).values()) == [Reason.GROUP] * 3


@pytest.mark.anyio
async def test_seed_decides_and_is_told(live: Live) -> None:
    chancy = [entry("ash", name=str(number), extensions={"probability": 50}) for number in range(30)]
    drawn = await ask(live, chancy)
    assert 0 < len(drawn["fired"]) < 30
    assert await ask(live, chancy, seed=drawn["seed"]) == drawn
    assert fired(await ask(live, chancy, seed=1)) == fired(await ask(live, chancy, seed="1"))
    assert len({tuple(fired(await ask(live, chancy, seed=seed))) for seed in range(5)}) > 1


@pytest.mark.anyio
async def test_book_decides_how_much_of_a_chat_is_read(live: Live) -> None:
    chat = say("ash", "elm", "oak")
    told = await ask(live, [entry("ash"), entry("elm")], messages=chat)
    assert (fired(told), reasons(told)) == (["elm"], {"ash": Reason.NOT_FOUND})
    deep = {"entries": [entry("ash"), entry("elm")], "scan_depth": 3}
    assert fired(await ask(live, [], messages=chat, lorebook=deep)) == ["ash", "elm"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("made", "last", "reason"),
    [
        (entry("ash", extensions={"sticky": 4}), "Well?", None),
        (entry("ash", extensions={"sticky": 2}), "Well?", Reason.NOT_FOUND),
        (entry("ash", extensions={"cooldown": 4}), "ash", Reason.COOLDOWN),
        (entry("ash", content="@@dont_activate_after_match\nlore"), "ash", Reason.ONCE),
        (entry("ash", content="@@keep_activate_after_match\nlore"), "Well?", None),
    ],
    ids=["sticky", "over", "cooldown", "once", "kept"],
)
async def test_turns_before_the_last_leave_their_mark(
    live: Live, made: Entry, last: str, reason: Reason | None
) -> None:
    told = await ask(live, [{**made, "name": "entry"}], messages=say("ash", "Yes.", last))
    assert (fired(told), reasons(told)) == (([], {"entry": reason}) if reason else (["entry"], {}))


@pytest.mark.anyio
async def test_large_book_is_tried_on_its_latest_turns(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.api.lorebooks.trial.REPLAYED_ENTRIES", 4)
    made = [entry("ash", extensions={"sticky": 9}), entry("oak", extensions={"sticky": 9})]
    told = await ask(live, made, messages=say("ash", "Yes.", "oak", "No.", "Hm.", "No.", "Well?"))
    assert (fired(told), reasons(told)) == (["oak"], {"ash": Reason.NOT_FOUND})


@pytest.mark.anyio
async def test_system_messages_are_no_lorebooks(live: Live) -> None:
    chat = [{"role": "system", "content": "ash"}, *say("oak")]
    assert fired(await ask(live, [entry("ash")], messages=chat)) == []


@pytest.mark.anyio
async def test_stored_book_is_tried_by_its_id(live: Live) -> None:
    odd = entry("ash", enabled="true", extensions={"vectorized": True})
    kept = (await live.client.post("/lorebooks", json={"name": "Trees", "entries": [odd]})).json()
    told = (await live.client.post(TEST, json={"lorebook_id": kept["id"], "text": "ash"})).json()
    assert told["fired"][0]["entry"] == "trees/#0"
    assert told["warnings"] == kept["warnings"]
    assert len(told["warnings"]) == 2


@pytest.mark.anyio
async def test_book_in_the_request_is_of_any_kind_and_isnt_kept(live: Live) -> None:
    told = await ask(live, [], lorebook=world(key=["ash"], disable="no", vectorized=True))
    assert told["fired"][0]["entry"] == "lorebook/0"
    assert len(told["warnings"]) == 2
    assert (await live.client.get("/lorebooks")).json()["lorebooks"] == []


@pytest.mark.anyio
async def test_character_says_whom_entries_are_for(live: Live) -> None:
    card = {"name": "Odo", "description": "A baker of {{user}}'s.", "tags": ["Bakers"], "scenario": "Under an ash."}
    await live.client.post("/characters", json=card)
    entries = [
        entry("ash", name="his", content="{{char}} and {{user}}.", extensions={"character_filter": {"names": ["Odo"]}}),
        entry("ash", name="bakers", extensions={"character_filter": {"tags": ["Bakers"], "isExclude": True}}),
        entry("under an", name="scene", extensions={"match_scenario": True}),
        entry("{{char}}: ash", name="speaker"),
        entry("{{user}}", name="user"),
    ]
    chat = say("Who?", "ash")
    told = await ask(live, entries, messages=chat, character_id="odo", user={"name": "Sam"})
    assert fired(told) == ["his", "scene", "speaker", "user"]
    assert told["fired"][0]["content"] == "Odo and Sam."
    assert reasons(told) == {"bakers": Reason.CHARACTER}


@pytest.mark.anyio
async def test_nobodys_name_stays_a_macro(live: Live) -> None:
    told = await ask(live, [entry("ash", content="{{char}} knows {{user}}. {{roll:1d1}}")])
    assert told["fired"][0]["content"] == "{{char}} knows User. 1"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fields", "param", "told"),
    [
        ({"text": "ash"}, "lorebook", "`lorebook_id` or `lorebook`"),
        ({"text": "ash", "lorebook": {"entries": []}, "lorebook_id": "x"}, "lorebook", "`lorebook_id` or `lorebook`"),
        ({"lorebook": {"entries": []}}, "text", "`text` or `messages`"),
        ({"lorebook": {"entries": []}, "text": "ash", "messages": say("ash")}, "text", "`text` or `messages`"),
        ({"lorebook": {"entries": []}, "messages": []}, "messages", "at least 1"),
        ({"lorebook": {"entries": []}, "messages": say(*["ash"] * 1001)}, "messages", "at most 1000"),
        ({"lorebook": {"entries": []}, "messages": [{"role": "tool", "content": "x"}]}, "messages.0.role", "system"),
        ({"lorebook": {"entries": []}, "text": "a" * 200_001}, "text", "200000"),
        ({"lorebook": {}, "text": "ash"}, "lorebook", "expected `entries`"),
        ({"lorebook": {"spec": "chara_card_v2", "data": {}}, "text": "ash"}, "lorebook", "character's card"),
        ({"lorebook": {"entries": [{}] * 10_001}, "text": "ash"}, None, "10,001 entries"),
        ({"lorebook": [], "text": "ash"}, "lorebook", "dictionary"),
        ({}, "lorebook", "`lorebook_id` or `lorebook`"),
    ],
    ids=range(13),
)
async def test_unclear_trial_is_refused(live: Live, fields: dict[str, Any], param: str | None, told: str) -> None:
    answer = await live.client.post(TEST, json=fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], told in error["message"]) == (400, param, True)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("field", "code"), [("lorebook_id", "lorebook_not_found"), ("character_id", "character_not_found")]
)
async def test_trial_of_what_isnt_there_is_404(live: Live, field: str, code: str) -> None:
    body = {"lorebook": {"entries": []}, "text": "ash"} if field == "character_id" else {"text": "ash"}
    answer = await live.client.post(TEST, json=body | {field: "nobody"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, code)


@pytest.mark.anyio
async def test_macros_cant_fill_the_memory(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.sessions.lore.MAX_MACRO_CHARACTERS", 500)
    await live.client.post("/characters", json={"name": "Odo", "description": "word " * 20})
    many = [entry("ash", content="{{description}}", name=str(number)) for number in range(6)]
    told = await ask(live, many, character_id="odo")
    assert [one["content"] == "{{description}}" for one in told["fired"]] == [False, False, False, True, True, True]


@pytest.mark.anyio
async def test_hostile_book_leaves_the_loop_to_others(live: Live) -> None:
    # A millisecond each to compile.
    many = [entry("/" + rf"\w{number}" * 200 + "/") for number in range(200)]
    asked = time.perf_counter()
    body = {"lorebook": {"entries": many}, "text": "ash"}
    request = asyncio.create_task(live.client.post(TEST, json=body, timeout=60))
    longest = last = 0.0
    while not request.done():
        last = time.perf_counter()
        await asyncio.sleep(0.005)
        longest = max(longest, time.perf_counter() - last)
    assert len(request.result().json()["not_fired"]) == 200
    assert longest < (last - asked) / 2


@pytest.mark.anyio
async def test_trials_wait_for_one_another(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    go, beside = threading.Event(), LorebookStore.beside
    stores: list[LorebookStore] = []
    trying: list[str] = []

    def hold(*arguments: Any, **options: Any) -> Any:
        trying.append(options["seed"])
        assert go.wait(10)
        return activate(*arguments, **options)

    def come(store: LorebookStore, function: Callable[[], bytes]) -> Any:
        stores.append(store)
        return beside(store, function)

    monkeypatch.setattr("app.api.lorebooks.trial.activate", hold)
    monkeypatch.setattr(LorebookStore, "beside", come)
    body = {"lorebook": {"entries": [entry("ash")]}, "text": "ash"}
    asked = [asyncio.create_task(live.client.post(TEST, json=body)) for _ in range(12)]
    try:
        await until(
            lambda: stores and len(trying) + stores[0]._readers.statistics().tasks_waiting == 12, "all have come"
        )
        assert len(trying) == MOST_READERS
    finally:
        go.set()
        answers = await asyncio.gather(*asked)
    assert [answer.status_code for answer in answers] == [200] * 12
