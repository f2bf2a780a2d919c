"""What can be configured, and what is refused with a sentence that says what to do."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import OPENCHARACTER_8B, ROOT, TINY, Settings

KEYS = "a-key-of-sixteen-or-more,another-key-long-enough"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("OPENCHARACTER_"):
            monkeypatch.delenv(name)


def refusal(**settings: object) -> str:
    """The first sentence that settings are refused with."""
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate(settings)
    return refused.value.errors()[0]["msg"]


def test_defaults_are_a_server_for_this_machine() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.redis_url, settings.api_keys) == ("127.0.0.1", 8000, None, ())


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "HOST": "::1",
        "PORT": "8123",
        "DATA_DIR": "/tmp/elsewhere",
        "MODEL": "some/model",
        "REDIS_URL": "redis://somewhere:6379/1",
        "API_KEYS": KEYS,
    }.items():
        monkeypatch.setenv(f"OPENCHARACTER_{name}", value)
    settings = Settings()
    assert (settings.host, settings.port) == ("::1", 8123)
    assert (settings.data_dir, settings.model) == (Path("/tmp/elsewhere"), "some/model")
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://somewhere:6379/1"
    assert [key.get_secret_value() for key in settings.api_keys] == KEYS.split(",")


def test_empty_variables_are_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "PORT", "DATA_DIR", "MODEL", "REDIS_URL", "API_KEYS"):
        monkeypatch.setenv(f"OPENCHARACTER_{name}", "")
    assert Settings() == Settings.model_construct(model=Settings().model)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 9  # type: ignore[misc]  # what a frozen model forbids is what is tested


def test_secrets_are_not_printed() -> None:
    settings = Settings.model_validate({"api_keys": KEYS, "redis_url": "redis://:password@somewhere"})
    assert "sixteen" not in repr(settings)
    assert "password" not in repr(settings)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.com", ""])
def test_public_host_needs_keys(host: str) -> None:
    message = refusal(host=host)
    assert f"refusing to listen on {host} without API keys" in message
    assert "set OPENCHARACTER_API_KEYS" in message


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.7"])
def test_loopback_needs_none(host: str) -> None:
    assert Settings.model_validate({"host": host}).host == host


def test_public_host_with_keys_is_served() -> None:
    assert Settings.model_validate({"host": "0.0.0.0", "api_keys": KEYS}).host == "0.0.0.0"


def test_short_key_is_refused() -> None:
    assert "at least 16 characters" in refusal(api_keys="short")


@pytest.mark.parametrize("keys", [" ", ",", " , ,"])
def test_list_of_no_keys_is_none(keys: str) -> None:
    assert Settings.model_validate({"api_keys": keys}).api_keys == ()


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+cluster", "rediss+cluster"])
def test_redis_url_is_of_one_or_of_a_cluster(scheme: str) -> None:
    settings = Settings.model_validate({"redis_url": f"{scheme}://somewhere:6379"})
    assert settings.redis_url


def test_replicas_need_a_redis_of_their_own() -> None:
    assert "set OPENCHARACTER_REDIS_URL" in refusal(durability="replicated")
    settings = Settings.model_validate({"durability": "replicated", "redis_url": "redis://somewhere"})
    assert settings.durability == "replicated"


def test_adapters_need_their_folder(tmp_path: Path) -> None:
    assert "make it" in refusal(adapters_dir=tmp_path / "nowhere")
    assert Settings.model_validate({"adapters_dir": tmp_path, "max_lora_rank": "16"}).max_lora_rank == 16


def test_fewer_adapters_in_memory_than_in_a_batch_are_refused() -> None:
    assert "OPENCHARACTER_MAX_LORAS" in refusal(max_loras=4, max_cpu_loras=2)


def test_redis_url_of_another_scheme_is_refused() -> None:
    assert "redis://" in refusal(redis_url="http://somewhere")


@pytest.mark.parametrize(
    "settings",
    [
        {"port": 70000},
        {"port": "http"},
        {"lease_s": 0},
        {"max_body_bytes": 1},
        {"max_model_len": 1},
        {"temperature": -1},
        {"gpu_memory_utilization": 2},
        {"stream_interval": 0},
        {"max_loras": 0},
        {"max_lora_rank": 7},
        {"log_level": "loud"},
        {"durability": "never"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_setting_out_of_range_is_refused(settings: dict[str, object]) -> None:
    assert refusal(**settings)


def test_tiny_model_is_found_from_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.model_validate({"model": TINY})
    assert (settings.model_path, settings.model_id) == (str(ROOT / TINY), "tiny")


def test_folder_is_called_by_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "My-Model"
    folder.mkdir()
    assert Settings.model_validate({"model": str(folder)}).model_id == "My-Model"


def test_hub_model_is_called_by_its_id() -> None:
    settings = Settings.model_validate({"model": "owner/name"})
    assert (settings.model_path, settings.model_id) == ("owner/name", "owner/name")


@pytest.mark.parametrize("gpu", [False, True])
def test_model_is_picked_by_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpu: bool) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text(f"#!/bin/sh\nexit {0 if gpu else 9}\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Settings().model == (OPENCHARACTER_8B if gpu else TINY)
    assert Settings().max_lora_rank == (64 if gpu else 16)
