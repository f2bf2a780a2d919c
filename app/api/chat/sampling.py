"""The sampling fields that chat completions and session turns share, as clients send them.

Lenient where front-ends are sloppy (null is absent, -1 switches off, numbers in strings), strict where a value would
harm the server.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from app.errors import InvalidRequestError, UnavailableError
from app.sessions.turns import Turns
from models.engine import Constraint, SamplingParams
from models.trials import NoPlaceError, Trials

MAX_N = 16
# vLLM wants more than 0, which clients send for "the likeliest alone".
LEAST_TOP_P = 1e-6
MAX_STOPS = 64
MAX_STOP_CHARACTERS = 256
MAX_SCHEMA_BYTES = 32 * 1024
MAX_CHOICE_CHARACTERS = 32 * 1024
# Of a regular expression, and of all patterns of a schema together.
MAX_PATTERN_CHARACTERS = 1024
_TOKEN_ID = re.compile(r"[0-9]{1,9}")


class JsonSchemaFormat(BaseModel):
    """OpenAI's `json_schema` object; `strict` is always honoured."""

    model_config = ConfigDict(extra="allow")

    name: str = "reply"
    json_schema: dict[str, Any] = Field(alias="schema")


class ResponseFormat(BaseModel):
    """What the reply must be: text, any JSON object, or JSON under a schema."""

    model_config = ConfigDict(extra="allow")

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    @model_validator(mode="after")
    def _schema_given(self) -> "ResponseFormat":
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("`json_schema` is missing")
        return self


class StructuredOutputs(BaseModel):
    """vLLM's extension: one of a schema, a regular expression or a choice."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    json_schema: dict[str, Any] | None = Field(None, alias="json")
    regex: str | None = Field(None, max_length=MAX_PATTERN_CHARACTERS)
    choice: list[str] | None = Field(None, min_length=1, max_length=256)

    @field_validator("choice")
    @classmethod
    def _bounded_choice(cls, choice: list[str] | None) -> list[str] | None:
        if sum(map(len, choice or ())) > MAX_CHOICE_CHARACTERS:
            raise ValueError(f"all choices together have at most {MAX_CHOICE_CHARACTERS} characters")
        return choice


class SamplingFields(BaseModel):
    """Sampling, in OpenAI's and vLLM's names. Unknown fields are accepted and ignored."""

    model_config = ConfigDict(extra="allow")

    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    min_tokens: int | None = Field(None, ge=0)
    temperature: float | None = Field(None, ge=0, le=5)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=-1)
    min_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, gt=0, le=10)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    n: int | None = Field(None, ge=1, le=MAX_N)
    stop: list[str] | None = Field(None, max_length=MAX_STOPS)
    ignore_eos: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    logit_bias: dict[str, float] | None = Field(None, max_length=1024)
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop_is_a_list(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("stop")
    @classmethod
    def _bounded_stops(cls, stops: list[str] | None) -> list[str] | None:
        if any(len(stop) > MAX_STOP_CHARACTERS for stop in stops or ()):
            raise ValueError(f"a stop string has at most {MAX_STOP_CHARACTERS} characters")
        return stops

    @model_validator(mode="after")
    def _min_under_max(self) -> "SamplingFields":
        longest = self.max_completion_tokens or self.max_tokens
        if self.min_tokens and longest and self.min_tokens > longest:
            raise ValueError(f"`min_tokens` ({self.min_tokens}) is more than `max_tokens` ({longest})")
        return self

    async def to_params(self, turns: Turns, *, temperature: float) -> SamplingParams:
        """For the engine; `temperature` where the client names none. Raises InvalidRequestError on a bad schema."""
        vocabulary = turns.engine.renderer.vocabulary
        bias = {int(key): value for key, value in (self.logit_bias or {}).items() if _TOKEN_ID.fullmatch(key)}
        return SamplingParams(
            max_tokens=self.max_completion_tokens or self.max_tokens,
            min_tokens=self.min_tokens or 0,
            n=self.n or 1,
            temperature=temperature if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else max(self.top_p, LEAST_TOP_P),
            top_k=max(self.top_k or 0, 0),
            min_p=self.min_p or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            repetition_penalty=self.repetition_penalty or 1.0,
            seed=self.seed if self.seed is None or self.seed >= 0 else None,
            stop=tuple(stop for stop in self.stop or () if stop),
            ignore_eos=bool(self.ignore_eos),
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            # Front-ends send the ids of other vocabularies: those that this one lacks are left out.
            logit_bias={key: value for key, value in bias.items() if key < vocabulary},
            constraint=await self._constraint(turns.checks),
        )

    async def _constraint(self, checks: Trials) -> Constraint | None:
        if self.response_format and self.response_format.type == "json_object":
            return Constraint(json_object=True)
        if self.response_format and self.response_format.json_schema:
            return Constraint(
                json_schema=await _checked(self.response_format.json_schema.json_schema, "response_format", checks)
            )
        if (outputs := self.structured_outputs) is None:
            return None
        given = [outputs.json_schema, outputs.regex, outputs.choice]
        if sum(item is not None for item in given) != 1:
            raise InvalidRequestError(
                "`structured_outputs` has exactly one of `json`, `regex` and `choice`", param="structured_outputs"
            )
        schema = outputs.json_schema
        return Constraint(
            json_schema=None if schema is None else await _checked(schema, "structured_outputs", checks),
            regex=outputs.regex,
            choice=tuple(outputs.choice or ()),
        )


async def _checked(schema: dict[str, Any], param: str, checks: Trials) -> dict[str, Any]:
    if len(orjson.dumps(schema)) > MAX_SCHEMA_BYTES:
        raise InvalidRequestError(f"the JSON schema has more than {MAX_SCHEMA_BYTES} bytes", param=param)
    if sum(map(len, _patterns(schema))) > MAX_PATTERN_CHARACTERS:
        raise InvalidRequestError(
            f"the patterns of the JSON schema have more than {MAX_PATTERN_CHARACTERS} characters together", param=param
        )
    try:
        await checks.run(lambda: Draft202012Validator.check_schema(schema))
    except SchemaError as error:
        raise InvalidRequestError(f"the JSON schema is invalid: {error.message[:300]}", param=param) from error
    except TimeoutError:
        raise InvalidRequestError(
            f"the JSON schema takes more than {checks.limit_s:.0f} s to check: simplify it", param=param
        ) from None
    except NoPlaceError:
        raise UnavailableError("other JSON schemas are being checked: try again", code="overloaded") from None
    return schema


def _patterns(value: Any) -> Iterator[str]:
    """The regular expressions anywhere in a schema; `pattern` as the name of a property has no string."""
    if isinstance(value, dict):
        if isinstance(pattern := value.get("pattern"), str):
            yield pattern
        if isinstance(patterns := value.get("patternProperties"), dict):
            yield from patterns
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _patterns(child)
