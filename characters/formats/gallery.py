"""A card's pictures among its assets: the avatar (V3's main icon), and expressions (V3's assets of type `emotion`).

Knows where each picture's file is, and never its pixels: a file is named by the SHA-256 of its content.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count

from characters.card import CharacterCard, slug
from characters.formats.assets import DEFAULT, EMBEDDED, ICON_PATH, Asset, embedded_path, main_icon

EXPRESSION = "emotion"


def digest(blob: bytes) -> str:
    """What a file is called, whatever its path: SHA-256, in hexadecimal."""
    return hashlib.sha256(blob).hexdigest()


@dataclass(frozen=True, slots=True)
class Gallery:
    """A card, and the digests of its files by path. Immutable: changes make another one."""

    card: CharacterCard
    files: Mapping[str, str]

    @property
    def avatar(self) -> str | None:
        """The path of the main icon's file; None when it has none here."""
        icon = main_icon(self._assets)
        path = (embedded_path(icon) if icon else None) or ICON_PATH
        return path if path in self.files else None

    @property
    def expressions(self) -> dict[str, str]:
        """The paths of the expressions' files, by name; of several with one name the first."""
        found: dict[str, str] = {}
        for asset in self._assets:
            path, name = embedded_path(asset) or "", asset.get("name")
            if asset.get("type") == EXPRESSION and path in self.files and isinstance(name, str):
                found.setdefault(name, path)
        return found

    def with_avatar(self, name: str, suffix: str) -> "Gallery":
        """The same with the file called `name` as its main icon."""
        assets = self._assets
        icon = main_icon(assets)
        old = self.avatar
        if icon is None:
            icon = {"type": "icon", "name": "main"}
            assets.append(icon)
        return self._placed(assets, icon, old, f"assets/icon/images/main.{suffix}", name)

    def without_avatar(self) -> "Gallery":
        """The same without one: another icon doesn't take its place."""
        assets = self._assets
        icon, old = main_icon(assets), self.avatar
        if icon is not None:
            assets = [asset for asset in assets if asset is not icon]
        if main_icon(assets) is not None:
            assets.append({"type": "icon", "uri": DEFAULT, "name": "main", "ext": "png"})
        return self._changed(assets, old, {})

    def with_expression(self, expression: str, name: str, suffix: str) -> "Gallery":
        """The same with the file called `name` as this expression's picture."""
        assets = self._assets
        asset = next((asset for asset in assets if _is_expression(asset, expression)), None)
        old = self.expressions.get(expression)
        if asset is None:
            asset = {"type": EXPRESSION, "name": expression}
            assets.append(asset)
        return self._placed(assets, asset, old, f"assets/emotion/images/{slug(expression)}.{suffix}", name)

    def without_expression(self, expression: str) -> "Gallery":
        """The same without this expression."""
        kept = [asset for asset in self._assets if not _is_expression(asset, expression)]
        return self._changed(kept, self.expressions.get(expression), {})

    def with_card(self, card: CharacterCard) -> "Gallery":
        """The same under another card: files go that the assets named and no longer do, and with the icon its own."""
        assets = card.data.assets or []
        if assets == self._assets:
            return Gallery(card, self.files)
        before = {*map(embedded_path, self._assets), *([] if main_icon(assets) else [ICON_PATH])}
        gone = before - set(map(embedded_path, assets))
        return Gallery(card, {path: name for path, name in self.files.items() if path not in gone})

    @property
    def _assets(self) -> list[Asset]:
        """Copies of the card's assets, to be changed."""
        return [dict(asset) for asset in self.card.data.assets or []]

    def _placed(self, assets: list[Asset], asset: Asset, old: str | None, path: str, name: str) -> "Gallery":
        """`asset`, one of `assets`, with its file at `path`, or at one like it where another asset's file is."""
        others = {embedded_path(other) for other in assets if other is not asset}
        taken = {there for there in self.files if there != old or there in others}
        stem, _, suffix = path.rpartition(".")
        paths = (path if number == 1 else f"{stem}-{number}.{suffix}" for number in count(1))
        free = next(path for path in paths if path not in taken)
        asset |= {"uri": EMBEDDED + free, "ext": suffix}
        return self._changed(assets, old, {free: name})

    def _changed(self, assets: list[Asset], old: str | None, new: Mapping[str, str]) -> "Gallery":
        """With these assets and `new` files; the `old` file goes when no asset names it any more."""
        named = set(map(embedded_path, assets))
        kept = {path: name for path, name in self.files.items() if path != old or path in named}
        data = self.card.data.model_copy(update={"assets": assets})
        return Gallery(self.card.model_copy(update={"data": data}), {**kept, **new})


def _is_expression(asset: Asset, name: str) -> bool:
    return asset.get("type") == EXPRESSION and asset.get("name") == name
