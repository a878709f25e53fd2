"""Process-wide settings: environment variables with the prefix RAGTUNE_, or a TOML file named by RAGTUNE_CONFIG.

The environment wins over the file. Settings are read once, frozen, and handed down; a misspelt name fails at once.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from ragtune.errors import InvalidRequest, UnknownName

PREFIX = "RAGTUNE_"
_KEY = re.compile(r"[\x21-\x7e]+")  # what may stand in a header
_LISTS = ("allowed_hosts", "adapter_roots", "document_roots", "training_roots", "evaluation_roots")
EMBEDDED = "embedded"
Retrieval = Literal["dense", "lexical", "hybrid"]
PassageOrder = Literal["canonical", "best-last"]


class Settings(BaseModel):
    """All settings with their defaults. Bytes are bytes, durations seconds, lengths tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(
        default=Path(platformdirs.user_data_dir("ragtune")),
        description="state: database, indexes, adapters, templates, runs",
    )
    cache: Path = Field(
        default=Path(platformdirs.user_cache_dir("ragtune")), description="converted models; may be deleted"
    )
    base_model: str = Field(default=EMBEDDED, description="'embedded', a local folder, or a hub id")
    embedding_model: str = Field(default=EMBEDDED, description="'embedded', a local folder, or a hub id")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(
        default=0, ge=0, description="torch threads of the engine; 0 means all cores, each bound to one"
    )

    hourly_rate: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="price of an hour of this machine, in whatever currency"
    )

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535)
    allowed_hosts: tuple[str, ...] = Field(default=(), description="further Host names accepted, comma separated")
    adapter_roots: tuple[Path, ...] = Field(
        default=(), description="folders adapters may be registered from, comma separated; runs/ in the home always is"
    )
    max_upload: int = Field(
        default=2 << 30, ge=1, description="bytes an uploaded adapter may have, as an archive and unpacked"
    )
    hub_adapters: bool = Field(default=False, description="whether adapters may be downloaded from the hub over HTTP")
    document_roots: tuple[Path, ...] = Field(
        default=(), description="folders an index may be built from over HTTP, comma separated"
    )
    training_roots: tuple[Path, ...] = Field(
        default=(), description="folders a recipe sent over HTTP may name data in, comma separated"
    )
    evaluation_roots: tuple[Path, ...] = Field(
        default=(), description="folders a suite sent over HTTP may name files in, comma separated"
    )
    training_threads: int = Field(
        default=0,
        ge=0,
        description="torch threads of a training; 0 means half the processors beside a service, all without one",
    )

    api_key: SecretStr | None = Field(default=None, description="what the commands show a service that asks for a key")

    default_index: str | None = Field(default=None, description="the index a bare 'rag' means, if there are several")
    retrieval: Retrieval = Field(default="hybrid", description="by meaning, by words, or both")
    reranker: str = Field(default="", description="cross-encoder that reranks: a hub id or a folder; empty: none")
    min_score: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="passages below are left out: a cosine; a BM25 score, or a reranker's, where it ranks",
    )
    abstention: str = Field(
        default="The documents do not answer this.", min_length=1, description="the answer where no passage is left"
    )
    index_versions: int = Field(default=5, ge=0, description="former versions of an index that are kept for rollback")
    max_document: int = Field(default=256 << 20, ge=1, description="bytes an uploaded document may have")
    passage_order: PassageOrder = Field(
        default="canonical",
        description="of passages where no template says: 'canonical', so that equal sets share KV, or 'best-last', "
        "next to the question, which a small model reads best",
    )
    passage_tokens: int = Field(default=250, ge=16, description="token budget for passages in a prompt")
    top_k: int = Field(default=4, ge=1, le=100, description="passages retrieved at most")

    max_model_len: int = Field(default=4096, ge=32, description="context limit, capped by the model's own")
    step_tokens: int = Field(default=512, ge=1, description="tokens one engine step computes at most")
    max_running: int = Field(default=64, ge=1, description="sequences in the batch at most")
    max_waiting: int = Field(default=256, ge=0, description="sequences queued at most; beyond that 429")
    kv_tokens: int = Field(default=32768, ge=256, description="tokens the KV store holds")
    adapter_memory: int = Field(
        default=2 << 30, ge=1, description="bytes all adapters in memory may take; the least recently used leave first"
    )
    prefix_cache: bool = Field(default=True, description="reuse KV of equal prompt beginnings")
    deadline: float = Field(default=120.0, gt=0, description="seconds a request may take")
    feedback_window: int = Field(
        default=1000,
        ge=0,
        le=100_000,
        description="answers kept in memory so that they can be judged; written down when they are; 0 keeps none",
    )
    keep_alive: float = Field(
        default=10.0, gt=0, description="seconds of silence after which a stream says it is alive"
    )
    drain: float = Field(default=30.0, ge=0, description="seconds to finish requests after SIGTERM")

    @field_validator("api_key")
    @classmethod
    def _fits_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not _KEY.fullmatch(key.get_secret_value()):
            raise ValueError("this cannot be a key: it is empty, or holds blanks or letters beyond ASCII")
        return key

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> "Settings":
        """Settings from the TOML file and the environment, `overrides` (command line) winning over both.

        Raises UnknownName for a variable or key that does not exist, InvalidRequest for a value that does not fit.
        """
        environ = os.environ if environ is None else environ
        from_file = _read_file(environ.get(PREFIX + "CONFIG"))
        from_env = _from_environment(environ)
        for name in [*from_file, *from_env]:
            if name not in cls.model_fields:
                raise UnknownName.among("setting", name, cls.model_fields)
        values = {**from_file, **from_env, **{k: v for k, v in overrides.items() if v is not None}}
        try:
            return cls.model_validate({name: _split(name, value) for name, value in values.items()})
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            got = "" if name == "api_key" else f" (got {first['input']!r})"
            raise InvalidRequest(f"setting {name}: {first['msg']}{got}", param=name) from error

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.home / "ragtune.db"

    @property
    def runs(self) -> Path:
        """Where training and evaluation runs are written."""
        return self.home / "runs"


def _read_file(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidRequest(f"settings file {path}: {error}", param="config") from error


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    prefixed = {name.removeprefix(PREFIX).lower(): value for name, value in environ.items() if name.startswith(PREFIX)}
    prefixed.pop("config", None)
    return prefixed


def _split(name: str, value: Any) -> Any:
    if name in _LISTS and isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value
