"""From a mode as written to pinned versions: what is combined, and whether it fits together."""

import re
from dataclasses import dataclass
from pathlib import Path

from adapters.base_model import BaseModelInfo
from adapters.manifest import AdapterManifest
from adapters.registry import Adapters
from indexer.store import Indexes, IndexManifest
from ragtune.errors import IncompatibleParts, InvalidRequest, RagtuneError, UnknownName
from ragtune.mode import NAME_PATTERN, RESERVED, Mode, Ref
from ragtune.mode_aliases import ModeAlias, ModeAliases
from ragtune.settings import Settings
from ragtune.template import Template
from ragtune.templates import Templates
from ragtune.versions import Version
from service.engine.messages import AdapterRef
from service.pins import pin

_NAME = re.compile(NAME_PATTERN)


@dataclass(frozen=True)
class Configuration:
    """A mode resolved: every part pinned to one version. `mode` is the canonical string with those versions.

    `pins` are the keys under which the versions are held as long as they are needed (`pins.py`).
    """

    asked: str
    mode: str
    weights: AdapterRef | None
    prefix: AdapterRef | None
    template: Template
    index: Version[IndexManifest] | None
    versions: dict[str, str]
    adapters: tuple[Version[AdapterManifest], ...]
    pins: tuple[str, ...]


class Catalog:
    """Knows all names. Reads the store at each call, so what another process published is found at once."""

    def __init__(
        self,
        base: BaseModelInfo,
        adapters: Adapters,
        indexes: Indexes,
        templates: Templates,
        aliases: ModeAliases,
        settings: Settings,
    ) -> None:
        self.aliases = aliases
        self._base = base
        self._adapters = adapters
        self._indexes = indexes
        self._templates = templates
        self._default_index = settings.default_index
        self._default_template = Template.default(settings)

    def resolve(self, text: str) -> Configuration:
        """The configuration `text` asks for: a mode or an alias for one, the base model's id, or BASE_ID:MODE.

        Raises InvalidRequest for bad syntax, UnknownName with near matches, IncompatibleParts for parts that do not
        fit. There is no fallback to the base model.
        """
        alias = self._alias(text.removeprefix(f"{self._base.id}:"))
        if alias is None:
            return self._configuration(text, self._parse(text))
        try:
            return self._configuration(text, Mode.parse(alias.mode))
        except RagtuneError as error:  # who asked for the alias must be told what it means to understand the rest
            raise type(error)(f"{alias.name} means {alias.mode}: {error.message}", param=error.param) from error

    def set_alias(self, name: str, text: str, author: str = "") -> ModeAlias:
        """Let `name` mean the mode `text`. Raises what `resolve` raises, InvalidRequest for a name that is taken."""
        if name == self._base.id:
            raise InvalidRequest(f"{name!r} is the base model; choose another name for the alias", param="alias")
        mode = self._parse(text)
        self._configuration(text, mode)
        return self.aliases.set(name, mode, author)

    def rollback_alias(self, name: str) -> ModeAlias:
        """Let `name` mean again what it meant before and can still be had. Raises UnknownName, IncompatibleParts."""
        return self.aliases.rollback(name, self._can_be_had)

    def _can_be_had(self, mode: str) -> bool:
        try:
            self._configuration(mode, Mode.parse(mode))
        except RagtuneError:
            return False
        return True

    def _configuration(self, text: str, mode: Mode) -> Configuration:
        weights, prefix = self._sort([self._adapter(ref) for ref in mode.adapters])
        template = self._templates.get(mode.template, param="mode") if mode.template else None
        index = self._indexes.resolve(mode.index or self._the_index(), param="mode") if mode.rag else None
        named = {"weights": weights, "prefix": prefix, "template": template, "index": index}
        versions = {part: str(version) for part, version in named.items() if version is not None}
        return Configuration(
            asked=text,
            mode=_canonical(versions),
            weights=reference(weights) if weights else None,
            prefix=reference(prefix) if prefix else None,
            template=template.manifest.template if template else self._default_template,
            index=index,
            versions=versions,
            adapters=tuple(adapter for adapter in (weights, prefix) if adapter is not None),
            pins=tuple(pin(version) for version in (weights, prefix, index) if version is not None),
        )

    def modes(self) -> list[str]:
        """The simple modes there are; any of them can be joined with '+'."""
        indexes = self._indexes.versions.names()
        bare = ["rag"] if len(indexes) == 1 or self._default_index in indexes else []
        templates = [f"prompt:{name}" for name in self._templates.versions.names()]
        return ["base", *self._adapters.names(), *templates, *bare, *(f"rag:{name}" for name in indexes)]

    def _known(self) -> list[str]:
        return [*self.modes(), *(alias.name for alias in self.aliases.all())]

    def _alias(self, text: str) -> ModeAlias | None:
        """The alias `text` is; what cannot be one is not looked up."""
        return self.aliases.find(text) if _NAME.fullmatch(text) and text not in RESERVED else None

    def _parse(self, text: str) -> Mode:
        if text == self._base.id:
            return Mode()
        text = text.removeprefix(f"{self._base.id}:")
        try:
            return Mode.parse(text)
        except InvalidRequest as error:
            if any(sign in text for sign in "+:@"):
                raise
            raise UnknownName.among("mode", text, [self._base.id, *self._known()], param="mode") from error

    def _adapter(self, ref: Ref) -> Version[AdapterManifest]:
        if ref.name not in self._adapters.names():
            if alias := self.aliases.find(ref.name):
                raise InvalidRequest(
                    f"{alias.name!r} is an alias for a whole mode and stands alone; write out what it means: "
                    f"{alias.mode}",
                    param="mode",
                )
            raise UnknownName.among("adapter or mode", ref.name, [*self._known(), "rag"], param="mode")
        version = self._adapters.get(ref, param="mode")
        if version.manifest.checked_against != self._base.fingerprint:  # the home was used with another base model
            raise IncompatibleParts(
                f"adapter {version} was checked against another base model, this server runs {self._base.id}; add it "
                "again to check it against this one",
                param="mode",
            )
        return version

    def _the_index(self) -> Ref:
        names = self._indexes.versions.names()
        if self._default_index:
            return Ref.parse(self._default_index, "index")
        if len(names) == 1:
            return Ref(names[0])
        if not names:
            raise UnknownName("there is no index yet; build one with 'ragtune index build'", param="mode")
        raise InvalidRequest(
            f"'rag' does not say which index: write rag:NAME ({', '.join(names)}), or set RAGTUNE_DEFAULT_INDEX",
            param="mode",
        )

    def _sort(
        self, versions: list[Version[AdapterManifest]]
    ) -> tuple[Version[AdapterManifest] | None, Version[AdapterManifest] | None]:
        prefixes = [v for v in versions if v.manifest.kind in ("soft_prompt", "prefix")]
        weights = [v for v in versions if v not in prefixes]
        for what, found in (("weight adapter", weights), ("soft prompt or prefix", prefixes)):
            if len(found) > 1:
                names = " and ".join(version.name for version in found)
                raise IncompatibleParts(f"a mode takes one {what} at most, {names} are two", param="mode")
        return weights[0] if weights else None, prefixes[0] if prefixes else None


def staged_reference(name: str, folder: Path, manifest: AdapterManifest) -> AdapterRef:
    """The adapter as the engine knows it; the key holds the content's hash, so equal keys mean equal tensors."""
    digests = (manifest.sha256, manifest.lane_sha256 or "")
    return AdapterRef(f"{name}#{manifest.sha256[:16]}", folder, manifest.kind, manifest.virtual_tokens, digests)


def reference(version: Version[AdapterManifest]) -> AdapterRef:
    """A published version as the engine knows it."""
    return staged_reference(version.name, version.folder, version.manifest)


def _canonical(versions: dict[str, str]) -> str:
    signs = {"weights": "", "prefix": "", "template": "prompt:", "index": "rag:"}
    return "+".join(sign + versions[part] for part, sign in signs.items() if part in versions) or "base"
