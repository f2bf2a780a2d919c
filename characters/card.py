"""CharacterCard: everything a character is.

A superset of Character Card V3 (kwaroran/character-card-spec-v3) with the paper's profile and the one-line persona
it was written from. In files those two travel in `data.extensions.opencharacter`, so that a card drops into any
front-end and comes back whole. Fields of `data` that no specification names are kept.
"""

import re
import unicodedata
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from characters.calls import Context
from characters.macros import expand
from characters.profile import Profile
from characters.standin import MARK, is_standin

EXTENSION = "opencharacter"
DEFAULT_USER = "User"
# What a card's text can quote of its own fields (SillyTavern's names, in lower case).
FIELD_MACROS = {
    "description": "description",
    "personality": "personality",
    "scenario": "scenario",
    "mesexamples": "mes_example",
    "charprompt": "system_prompt",
    "charjailbreak": "post_history_instructions",
    "char_version": "character_version",
}

# A card's JSON is from anywhere: values of the specification are typed, the rest is kept as it came.
Json = Any


class CardError(ValueError):
    """The card can't be read; the message says what it is and what was expected, `code` names the fault."""

    def __init__(self, message: str, code: str = "invalid_card") -> None:
        super().__init__(message)
        self.code = code


class CardData(BaseModel):
    """The `data` object of a V2 or V3 card. Missing fields get the specification's defaults, unknown ones are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(min_length=1, max_length=200)
    description: str = ""
    personality: str = ""
    scenario: str = ""
    first_mes: str = ""
    mes_example: str = ""
    creator_notes: str = ""
    system_prompt: str = ""
    post_history_instructions: str = ""
    alternate_greetings: list[str] = []
    tags: list[str] = []
    creator: str = ""
    character_version: str = ""
    extensions: dict[str, Json] = {}
    character_book: dict[str, Json] | None = None
    assets: list[dict[str, Json]] | None = None
    nickname: str | None = None
    creator_notes_multilingual: dict[str, str] | None = None
    source: list[str] | None = None
    group_only_greetings: list[str] = []
    creation_date: int | str | None = None
    modification_date: int | str | None = None

    @field_validator("name")
    @classmethod
    def _name_says_something(cls, name: str) -> str:
        if not name.strip():
            raise ValueError("a character needs a name")
        return name


class CharacterCard(BaseModel):
    """A character: the card's `data`, its profile and its persona. Immutable."""

    model_config = ConfigDict(frozen=True)

    spec: Literal["chara_card_v3"] = "chara_card_v3"
    spec_version: Literal["3.0"] = "3.0"
    data: CardData
    profile: Profile | None = None
    persona: str = Field("", max_length=4000)

    @model_validator(mode="before")
    @classmethod
    def _lift_extension(cls, value: Any) -> Any:
        """Take profile and persona out of `data.extensions.opencharacter`; top-level ones win over those.

        A description that only stands in for the profile goes.
        """
        if not isinstance(value, dict) or not isinstance(value.get("data"), dict):
            return value
        data = dict(value["data"])
        extensions = data.get("extensions")
        if not isinstance(extensions, dict) or not isinstance(extensions.get(EXTENSION), dict):
            return value
        ours = extensions[EXTENSION]
        data["extensions"] = {key: item for key, item in extensions.items() if key != EXTENSION}
        rest = {key: item for key, item in ours.items() if key not in ("profile", "persona", MARK)}
        if rest:
            data["extensions"][EXTENSION] = rest
        lifted = {key: ours[key] for key in ("profile", "persona") if ours.get(key) is not None}
        if is_standin(data, ours) and (lifted.get("profile") or value.get("profile")):
            data["description"] = ""
        return {**lifted, **{key: item for key, item in value.items() if item is not None}, "data": data}

    @property
    def name(self) -> str:
        """The name that `{{char}}` stands for: the nickname where there is one (V3)."""
        return (self.data.nickname or "").strip() or self.data.name

    def expand(
        self,
        text: str,
        user: str = DEFAULT_USER,
        original: str = "",
        *,
        persona: str | None = None,
        context: Context | None = None,
    ) -> str:
        """`text` with its macros replaced: names, the card's fields, and what `context` knows of the moment.

        `persona` is the user's; None leaves `{{persona}}` as it is. Names in fields and persona are replaced, too.
        """
        group = ", ".join(context.group) if context and context.group else self.name
        names = {"char": self.name, "user": user or DEFAULT_USER, "charifnotgroup": group, "group": group}
        said = text.lower()
        fields = {macro: getattr(self.data, field) for macro, field in FIELD_MACROS.items() if macro in said}
        if persona is not None:
            fields["persona"] = persona
        quoted = {macro: expand(value, names) for macro, value in fields.items()}
        return expand(text, {**names, "original": original, **quoted}, context)

    def greetings(self) -> list[str]:
        """The first message and its alternates, in the order in which `greeting` of a session counts them."""
        return [text for text in (self.data.first_mes, *self.data.alternate_greetings) if text.strip()]

    def to_v2(self) -> dict[str, Json]:
        """The card as V2 JSON, profile and persona in its extensions: what any front-end reads."""
        return {"spec": "chara_card_v2", "spec_version": "2.0", "data": self._data_with_extension()}

    def to_v3(self) -> dict[str, Json]:
        """The card as V3 JSON, profile and persona in its extensions."""
        return {"spec": self.spec, "spec_version": self.spec_version, "data": self._data_with_extension()}

    def _data_with_extension(self) -> dict[str, Json]:
        data: dict[str, Json] = self.data.model_dump(exclude_unset=True)
        ours: dict[str, Json] = {"persona": self.persona} if self.persona else {}
        if self.profile:
            ours["profile"] = self.profile.model_dump(exclude_defaults=True)
        extensions = dict(self.data.extensions)
        if ours:
            extensions[EXTENSION] = {**extensions.get(EXTENSION, {}), **ours}
        return {**data, "extensions": extensions}


def parse_card(value: Json) -> CharacterCard:
    """A card from V2 or V3 JSON, or from the bare `data` object.

    Raises CardError when it is none of these, and pydantic's ValidationError when a field has the wrong type.
    """
    if not isinstance(value, dict):
        raise CardError(f"a card is a JSON object, not {type(value).__name__}")
    if "data" not in value:
        if "name" not in value:
            raise CardError("a card has `data` (V2, V3), or is the data object itself with at least a `name`")
        top = {key: value[key] for key in ("profile", "persona") if key in value}
        data = {key: item for key, item in value.items() if key not in ("profile", "persona", "spec", "spec_version")}
        return CharacterCard.model_validate({"data": data, **top})
    spec = value.get("spec")
    if spec not in (None, "chara_card_v2", "chara_card_v3"):
        raise CardError(f"`spec` is {spec!r}; expected chara_card_v2 or chara_card_v3")
    return CharacterCard.model_validate({key: value[key] for key in ("data", "profile", "persona") if key in value})


def build_card(profile: Profile, persona: str = "") -> CharacterCard:
    """A card around a synthesized profile, with a greeting of its own."""
    name = profile.name or "Nobody"
    return CharacterCard(
        data=CardData(name=name, first_mes=f"Hello, {{{{user}}}}. I am {name}."), profile=profile, persona=persona
    )


def slug(name: str, otherwise: str = "character") -> str:
    """An id made from a name: lower-case ASCII words joined by dashes; `otherwise` when none is left."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:48] or otherwise
