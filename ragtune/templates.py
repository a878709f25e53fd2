"""The template registry: templates as versions in the store."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ragtune.mode import Ref
from ragtune.store import Database
from ragtune.template import Template
from ragtune.versions import Version, Versions

_FILE = "template.toml"
KIND = "template"


class TemplateManifest(BaseModel):
    """What is recorded of a template version."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    template: Template


class Templates:
    """Named, versioned templates."""

    def __init__(self, home: Path, database: Database) -> None:
        self.versions = Versions(home, database, KIND, TemplateManifest)

    def add(self, name: str, text: str, author: str = "") -> Version[TemplateManifest]:
        """Publish TOML `text` as a new version; the same content again is no new version. Raises RefusedArtifact."""
        template = Template.parse(text, f"template {name!r}")
        for existing in self.versions.current():
            if existing.name == name and existing.manifest.sha256 == template.sha256:
                return existing
        with self.versions.staging() as folder:
            (folder / _FILE).write_text(text, encoding="utf-8")
            manifest = TemplateManifest(sha256=template.sha256, template=template)
            return self.versions.publish(name, folder, manifest, author=author)

    def get(self, ref: Ref, *, param: str | None = None) -> Version[TemplateManifest]:
        """The version `ref` names. Raises UnknownName; `param` is the field at fault."""
        return self.versions.resolve(ref, param=param)

    def source(self, version: Version[TemplateManifest]) -> str:
        """The TOML text of a version, as it was added."""
        return (version.folder / _FILE).read_text(encoding="utf-8")
