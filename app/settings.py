"""What can be configured: `OPENCHARACTER_*` variables, read once at start, frozen. Nothing else reads them."""

import ipaddress
import shutil
import subprocess
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ROOT = Path(__file__).parent.parent
TINY = "models/tiny"
# The fine-tuned 8B: what a machine with a GPU serves unless told otherwise. README: how to get or train it.
OPENCHARACTER_8B = "willystumblr/opencharacter-sft-llama-3-8b-instruct"

# Those that vLLM knows.
LoraRank = Literal[1, 8, 16, 32, 64, 128, 256, 320, 512]


class Settings(BaseSettings):
    """Frozen and valid. Raises pydantic's ValidationError at start, naming the variable."""

    model_config = SettingsConfigDict(env_prefix="OPENCHARACTER_", env_ignore_empty=True, frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    data_dir: Path = Path(".data")
    model: str = Field(default_factory=lambda: OPENCHARACTER_8B if has_gpu() else TINY)
    redis_url: SecretStr | None = None
    durability: Literal["everysec", "always", "replicated"] = "everysec"
    """How safe what was said is before it is answered, should Redis crash; `app.store.durability` says more."""
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()

    max_model_len: int | None = Field(None, ge=256)
    max_num_seqs: int | None = Field(None, ge=1)
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    load_format: str = "auto"
    stream_interval: int | None = Field(None, ge=1, le=64)
    """Tokens a frame; None: one, and two or four when many streams run."""
    cpu_kv_cache_gib: int = Field(1, ge=1)
    adapters_dir: Path | None = None
    """Each folder in it is a LoRA that characters can speak with; None: there are none, which saves memory."""
    max_loras: int = Field(4, ge=1, le=256)
    """How many adapters go in one batch, and `max_cpu_loras` how many are kept in memory."""
    max_cpu_loras: int = Field(16, ge=1)
    max_lora_rank: LoraRank = Field(default_factory=lambda: usual_lora_rank())
    """vLLM's CPU build takes time by it, whatever an adapter's own is: 52 ms for 700 tokens without adapters on the
    tiny model, 0.3 s at 16, 2.1 s at 64."""

    temperature: float = Field(0.7, ge=0, le=2)
    reply_tokens: int = Field(512, ge=1)
    """Longest reply in a session when a request names no `max_tokens`; a quarter of the context at most."""
    max_body_bytes: int = Field(4 * 2**20, ge=1024)
    max_import_bytes: int = Field(64 * 2**20, ge=1024)
    """Of a body that brings files: cards, ZIPs of many, pictures."""
    max_versions: int = Field(100, ge=1)
    """Of a character, lorebook or persona: the present one and those before it."""
    max_concurrent_requests: int = Field(1024, ge=1)
    lease_s: float = Field(15.0, ge=1)
    queue_s: float = Field(30.0, gt=0)
    """How long a request may wait for the session that another turn has."""
    resume_s: float = Field(3600.0, ge=1)
    """How long the frames of a resumable turn are kept."""
    prewarm_below: int = Field(8, ge=0)
    """Prompts are read ahead of their turns while fewer turns than this run; 0: never."""

    embeddings: str = "auto"
    """How memories are found by meaning: `local` with sentence-transformers, or the address of a server's
    `/v1`; by their words alone with `off`. `auto` is local where it is installed."""
    embedding_model: str = "all-MiniLM-L6-v2"
    embedding_api_key: SecretStr | None = None
    memory_notes: bool = True
    """Whether the model writes down what leaves its prompt; what was said is remembered in any case."""
    memory_most: int = Field(3, ge=0, le=32)
    """How many memories come back on a turn, in at most `memory_tokens` and 1/32 of the context."""
    memory_tokens: int = Field(160, ge=0)
    memory_meaning: float = Field(1.0, ge=0)
    memory_mood: float = Field(0.02, ge=0)
    memory_recency: float = Field(0.02, ge=0)
    """What counts how much for what comes back; recency is halved every `memory_half_life_days`."""
    memory_half_life_days: float = Field(7.0, gt=0)
    memory_least: float = Field(0.15, ge=0, le=1)
    """How close in meaning a memory must be to come back at all."""
    nli_model: str | None = None
    """Who judges candidates of a turn with `fidelity`: a classifier of what follows from what, a folder or a hub id.
    None: the model itself."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("redis_url")
    @classmethod
    def _known_scheme(cls, url: SecretStr | None) -> SecretStr | None:
        schemes = ("redis://", "rediss://", "unix://", "redis+cluster://", "rediss+cluster://")
        if url and not url.get_secret_value().startswith(schemes):
            raise ValueError(
                "a Redis URL begins with redis://, rediss:// or unix://, and a cluster's with redis+cluster:// or "
                "rediss+cluster://"
            )
        return url

    @field_validator("adapters_dir")
    @classmethod
    def _is_folder(cls, folder: Path | None) -> Path | None:
        if folder is not None and not folder.is_dir():
            raise ValueError(f"there is no folder {folder}: make it, and put one folder for each adapter into it")
        return folder

    @field_validator("max_lora_rank", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value

    @field_validator("embeddings")
    @classmethod
    def _known_embeddings(cls, value: str) -> str:
        if value not in ("auto", "local", "off") and not value.startswith(("http://", "https://")):
            raise ValueError("say auto, local, off, or the address of a server's /v1")
        return value

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("api_keys")
    @classmethod
    def _long_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(key.get_secret_value()) < 16 for key in keys):
            raise ValueError("an API key has at least 16 characters; `python -m app keys` makes one")
        return keys

    @model_validator(mode="after")
    def _public_needs_keys(self) -> Self:
        if not self.api_keys and not is_loopback(self.host):
            raise ValueError(
                f"refusing to listen on {self.host} without API keys: set OPENCHARACTER_API_KEYS to a comma-separated "
                "list (`python -m app keys` makes one), or OPENCHARACTER_HOST=127.0.0.1"
            )
        return self

    @model_validator(mode="after")
    def _batch_fits_into_memory(self) -> Self:
        if self.max_cpu_loras < self.max_loras:
            raise ValueError(
                f"OPENCHARACTER_MAX_CPU_LORAS is {self.max_cpu_loras}, fewer than the {self.max_loras} of "
                "OPENCHARACTER_MAX_LORAS"
            )
        return self

    @model_validator(mode="after")
    def _replicas_need_a_redis(self) -> Self:
        if self.durability == "replicated" and self.redis_url is None:
            raise ValueError(
                "OPENCHARACTER_DURABILITY=replicated waits for a Redis with a replica: set OPENCHARACTER_REDIS_URL, or "
                "OPENCHARACTER_DURABILITY=always for the server's own"
            )
        return self

    @property
    def model_path(self) -> str:
        """The model as a folder where it is one (relative ones are looked for in the project), else as a hub id."""
        inside = ROOT / self.model
        return str(inside) if inside.is_dir() else self.model

    @property
    def model_id(self) -> str:
        """What clients call the model: the folder's name, or the hub id."""
        path = Path(self.model_path)
        return path.resolve().name if path.is_dir() else self.model


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def usual_lora_rank() -> LoraRank:
    """The rank of this machine's adapters, as the recipes make them."""
    return 64 if has_gpu() else 16


def has_gpu() -> bool:
    """Whether `nvidia-smi` answers: the question that the Makefile asks, too."""
    program = shutil.which("nvidia-smi")
    return program is not None and subprocess.run([program], capture_output=True, check=False).returncode == 0
