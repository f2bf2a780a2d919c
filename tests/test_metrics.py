"""Metrics: what dashboards read, counted right, and nobody's ids in them."""

import re
from typing import Any

import httpx

NAMES = (
    "opencharacter_time_to_first_token_seconds_bucket",
    "opencharacter_inter_token_latency_seconds_bucket",
    "opencharacter_request_seconds_bucket",
    "opencharacter_prompt_tokens_total",
    "opencharacter_cached_tokens_total",
    "opencharacter_completion_tokens_total",
    "opencharacter_requests_running",
    "opencharacter_requests_waiting",
    "opencharacter_requests_total",
    "opencharacter_errors_total",
    "opencharacter_sessions_committed_total",
)


def say(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    """A turn with lyra, in a session of its own."""
    session = client.post("/sessions", json={"character_id": "lyra"}).json()["id"]
    answer = client.post(f"/sessions/{session}/messages", json={"content": "Hello.", "max_tokens": 4, **fields})
    turn: dict[str, Any] = answer.raise_for_status().json()
    return turn


def read_metrics(client: httpx.Client) -> dict[str, float]:
    """Sample by name with its labels."""
    lines = client.get("/metrics").text.splitlines()
    samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


def test_metrics_tell_what_dashboards_read(client: httpx.Client) -> None:
    say(client)
    client.get("/sessions/nowhere")
    names = {sample.partition("{")[0] for sample in read_metrics(client)}
    assert names >= set(NAMES)


def test_metrics_count_a_turn(client: httpx.Client) -> None:
    before = read_metrics(client)
    usage = say(client, ignore_eos=True)["usage"]
    grown = {name: value - before.get(name, 0) for name, value in read_metrics(client).items()}
    assert grown["opencharacter_prompt_tokens_total"] == usage["prompt_tokens"]
    assert grown["opencharacter_cached_tokens_total"] == usage["prompt_tokens_details"]["cached_tokens"]
    assert grown["opencharacter_completion_tokens_total"] == usage["completion_tokens"] == 4
    assert grown["opencharacter_sessions_committed_total"] == 1
    assert grown["opencharacter_time_to_first_token_seconds_count"] == 1
    assert grown['opencharacter_requests_total{endpoint="sessions",finish_reason="length"}'] == 1
    assert grown["opencharacter_requests_running"] == grown["opencharacter_requests_waiting"] == 0


def test_metrics_have_no_ids_in_labels(client: httpx.Client) -> None:
    turn = say(client)
    session = turn["session_id"]
    for path in (f"/sessions/{session}x", "/characters/nobody", "/v1/models/nobody", "/nowhere"):
        client.get(path)
    text = client.get("/metrics").text
    for secret in (session, turn["message"]["id"], "lyra", "nobody", "nowhere"):
        assert secret not in text
    labels = set(re.findall(r'(\w+)="', text))
    assert labels <= {"le", "endpoint", "finish_reason", "kind", "outcome"}
