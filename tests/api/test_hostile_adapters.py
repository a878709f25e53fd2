"""Adapters that are broken or meant to do harm, one class after the other, over HTTP.

Each is refused with its status and a reason, and afterwards everything is as it was: the store byte for byte, what is
served, and nothing that was hidden in it has run.
"""

import hashlib
import io
import json
import pickle
import shutil
import stat
import tarfile
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import unquote

import httpx
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from service.parts import Parts
from tests.api.test_resource_routes import Error, mode_of

CONFIG, WEIGHTS, NAME = "adapter_config.json", "adapter_model.safetensors", "hostile"
Spoil = Callable[[Path], None]
Tensors = dict[str, np.ndarray]  # type: ignore[type-arg]


def snapshot(parts: Parts) -> dict[str, str]:
    """Every file and folder of the store, with a hash of what is in it."""
    root = parts.settings.home / "store"
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(root.rglob("*"))
        if path.name != ".staging"
    }


@pytest.fixture(autouse=True)
async def unharmed(client: httpx.AsyncClient, parts: Parts, tmp_path: Path) -> AsyncIterator[None]:
    """Whatever a test sends, afterwards all is as before."""
    before, listed = snapshot(parts), (await client.get("/v1/models")).json()
    yield
    after, listed_now = snapshot(parts), (await client.get("/v1/models")).json()
    if NAME in parts.adapters.names():
        parts.adapters.remove(NAME)
    assert after == before
    assert listed_now == listed
    assert await mode_of(client, "my-lora+rag") == "my-lora@1+rag:handbook@1"
    assert not any(key.startswith(NAME) for key in (await parts.engine.stats()).adapters)
    assert not (tmp_path / "harm").exists()


@pytest.fixture
def folder(peft_folders: Path, tmp_path: Path) -> Path:
    """A good LoRA inside an allowed root, to be spoiled."""
    copy = peft_folders / f"spoiled-{tmp_path.name}"
    return Path(shutil.copytree(peft_folders / "my-lora", copy))


def configured(**fields: object) -> Spoil:
    """Change the config."""

    def spoil(folder: Path) -> None:
        config = json.loads((folder / CONFIG).read_bytes())
        (folder / CONFIG).write_text(json.dumps(config | fields))

    return spoil


def retensored(change: Callable[[Tensors], Tensors]) -> Spoil:
    """Change the weights."""

    def spoil(folder: Path) -> None:
        save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)

    return spoil


def written(name: str, content: bytes) -> Spoil:
    """Replace a file."""

    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return spoil


class Harm:
    """Whoever unpickles this leaves a trace."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._place,)


def a_pickle(folder: Path, place: Path) -> None:
    (folder / WEIGHTS).unlink()
    torch.save({"harm": Harm(place)}, folder / "adapter_model.bin")


def a_renamed_pickle(folder: Path, place: Path) -> None:
    (folder / WEIGHTS).write_bytes(pickle.dumps(Harm(place)))


def a_renamed_torch_file(folder: Path, place: Path) -> None:
    torch.save({"harm": Harm(place)}, folder / WEIGHTS)


def key(tensors: Tensors) -> str:
    return next(iter(tensors))


def without_a_layer(tensors: Tensors) -> Tensors:
    module = key(tensors).partition(".lora_")[0]
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(module)}


def with_value(value: float) -> Callable[[Tensors], Tensors]:
    def change(tensors: Tensors) -> Tensors:
        tensors[key(tensors)].flat[3] = value
        return tensors

    return change


def of_another_base(folder: Path) -> None:
    """The LoRA of a model twice as wide."""
    configured(base_model_name_or_path="someone/another-model")(folder)
    retensored(lambda tensors: {k: np.concatenate([t, t], axis=1 if "lora_A" in k else 0) for k, t in tensors.items()})(
        folder
    )


def trained_on_another_base(folder: Path) -> None:
    """Shapes that fit, and a record that says they were trained on other weights."""
    record = {"base_fingerprint": "f" * 64, "base_id": "someone/another-model", "method": "lora", "recipe": {}}
    record |= {"data_sha256": "", "rendering_hash": "", "template": None, "index": None, "seconds": 1, "steps": 1}
    record |= {"examples": 1, "tokens": 1, "trainable_parameters": 1, "final_loss": 1, "versions": {}, "created": ""}
    (folder / "ragtune.json").write_text(json.dumps(record))


def of_rank(rank: int) -> Spoil:
    """Pairs of a rank far above both dimensions of every layer: what a matrix could say, at many times its size."""

    def grown(tensors: Tensors) -> Tensors:
        return {
            k: np.resize(t, (rank, t.shape[1]) if "lora_A" in k else (t.shape[0], rank)) for k, t in tensors.items()
        }

    def spoil(folder: Path) -> None:
        configured(r=rank)(folder)
        retensored(grown)(folder)

    return spoil


def half(name: str) -> Spoil:
    """Cut a file in the middle."""

    def spoil(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return spoil


def renamed(tensors: Tensors) -> Tensors:
    return {k.replace("layers.0.", "layers.99."): tensor for k, tensor in tensors.items()}


HOSTILE: list[tuple[str, Spoil, str]] = [
    ("NaN", retensored(with_value(float("nan"))), "NaN or infinite"),
    ("infinity", retensored(with_value(float("inf"))), "NaN or infinite"),
    ("wrong base: shapes", of_another_base, "someone/another-model"),
    ("wrong base: record", trained_on_another_base, "trained on the base model someone/another-model"),
    ("wrong base: more layers", retensored(renamed), "which this base model does not have"),
    ("missing layer", retensored(without_a_layer), "is incomplete"),
    ("missing half", retensored(lambda t: {k: v for k, v in t.items() if k != key(t)}), "not the other half"),
    ("no tensors", retensored(lambda t: {}), "holds no tensors"),
    ("extra tensor", retensored(lambda t: t | {"base_model.model.extra": t[key(t)]}), "base_model.model.extra"),
    ("extra head", retensored(lambda t: t | {"base_model.model.lm_head.weight": t[key(t)]}), "output head"),
    ("integers", retensored(lambda t: {k: v.astype(np.int32) for k, v in t.items()}), "type I32"),
    ("rank of zero", configured(r=0), "r: "),
    ("rank that is not the weights'", configured(r=64), "adapter_config.json says 64"),
    ("rank beyond numbers", configured(r=10**9), "r: "),
    ("unknown field", configured(magic=3), "magic is set"),
    (
        "known field that is not supported",
        configured(alora_invocation_tokens=[5]),
        "alora_invocation_tokens is set: aLoRA",
    ),
    ("field of a wrong type", configured(lora_alpha=[]), "lora_alpha"),
    ("pattern that never ends", configured(rank_pattern={"(a+)+$": 4}), "too complex"),
    ("PiSSA without its base", configured(init_lora_weights="pissa"), "'pissa' changes the base model's own weights"),
    ("PiSSA by steps", configured(init_lora_weights="pissa_niter_16"), "changes the base model's own weights"),
    ("another task", configured(task_type="SEQ_CLS"), "SEQ_CLS"),
    ("another kind", configured(peft_type="EVIL"), "'EVIL' is not supported"),
    ("truncated weights", half(WEIGHTS), "cut short"),
    ("truncated config", half(CONFIG), "not valid JSON"),
    ("bad JSON: text", written(CONFIG, b"r = 8"), "not valid JSON"),
    ("bad JSON: bytes", written(CONFIG, b"\xff\xfe{"), "not valid JSON"),
    ("bad JSON: depth", written(CONFIG, b"[" * 200_000), "not valid JSON"),
    ("bad JSON: a list", written(CONFIG, b"[]"), "no JSON object"),
    ("bad record", written("ragtune.json", b'{"base_id": 3}'), "ragtune.json"),
    ("empty weights", written(WEIGHTS, b""), "not a safetensors file"),
    ("a header of petabytes", written(WEIGHTS, b"\xff" * 7 + b"\x00{}"), "not a safetensors file"),
]
ABSURD = [pytest.param(of_rank(4096), "rank 4096 is larger than the layer", id="absurd rank")]
PICKLES = [a_pickle, a_renamed_pickle, a_renamed_torch_file]


def zipped(folder: Path) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"adapter/{path.name}")
    return made.getvalue()


async def send(client: httpx.AsyncClient, folder: Path, how: str) -> httpx.Response:
    """As a path, as a load of vLLM's kind, or as an archive."""
    if how == "archive":
        return await upload(client, zipped(folder))
    if how == "load":
        return await client.post("/v1/load_lora_adapter", json={"lora_name": NAME, "lora_path": str(folder)})
    return await client.put(f"/v1/adapters/{NAME}", json={"path": str(folder)})


async def upload(client: httpx.AsyncClient, content: bytes, kind: str = "zip") -> httpx.Response:
    headers = {"content-type": f"application/{kind}"}
    return await client.put(f"/v1/adapters/{NAME}", content=content, headers=headers)


def check_refused(response: httpx.Response, words: str, status: int = 422, code: str = "refused_artifact") -> None:
    error = Error.of(response)
    assert (error.status, error.code) == (status, code), error.message
    assert words in error.message
    assert ".staging" not in error.message


@pytest.mark.parametrize("how", ["path", "load", "archive"])
@pytest.mark.parametrize(("spoil", "words"), [pytest.param(*rest, id=name) for name, *rest in HOSTILE] + ABSURD)
async def test_a_broken_adapter_is_refused(
    client: httpx.AsyncClient, folder: Path, spoil: Spoil, words: str, how: str
) -> None:
    spoil(folder)
    check_refused(await send(client, folder, how), words)


@pytest.mark.parametrize("how", ["path", "load", "archive"])
@pytest.mark.parametrize("spoil", PICKLES)
async def test_a_pickle_is_refused_under_any_name_and_never_opened(
    client: httpx.AsyncClient, folder: Path, tmp_path: Path, spoil: Callable[[Path, Path], None], how: str
) -> None:
    spoil(folder, tmp_path / "harm")
    check_refused(await send(client, folder, how), "a pickle" if spoil is a_pickle else "not a safetensors file")


@pytest.mark.parametrize(
    "name", ["../../escaped", "/tmp/escaped", "adapter/../../escaped", "..\\escaped", "C:\\escaped"]
)
async def test_a_member_that_leads_out_of_its_archive_is_refused(
    client: httpx.AsyncClient, folder: Path, name: str
) -> None:
    for kind in ("zip", "x-tar"):
        made = io.BytesIO(zipped(folder))
        if kind == "zip":
            with zipfile.ZipFile(made, "a") as archive:
                archive.writestr(name, "harm")
        else:
            made = io.BytesIO()
            with tarfile.open(fileobj=made, mode="w") as tar:
                tar.add(folder, "adapter")
                tar.addfile(tarfile.TarInfo(name))
        check_refused(await upload(client, made.getvalue(), kind), "leads out of the archive")


@pytest.mark.parametrize("path", ["{root}/../../etc", "/etc/passwd", "{root}/..", "/proc/self/root"])
async def test_a_path_that_leads_out_of_the_allowed_roots_is_refused(
    client: httpx.AsyncClient, peft_folders: Path, path: str
) -> None:
    for how in ("path", "load"):
        response = await send(client, Path(path.format(root=peft_folders)), how)
        check_refused(response, "RAGTUNE_ADAPTER_ROOTS", 403, "forbidden")


async def test_the_stores_own_folders_cannot_be_named(client: httpx.AsyncClient, parts: Parts) -> None:
    with parts.adapters.versions.staging() as staged:  # where somebody else's upload might be
        for place in (staged, parts.settings.home / "store" / "adapter" / "my-lora" / "1"):
            for how in ("path", "load"):
                check_refused(await send(client, place, how), "RAGTUNE_ADAPTER_ROOTS", 403, "forbidden")


async def test_a_symbolic_link_is_refused_in_an_archive_and_in_a_folder(
    client: httpx.AsyncClient, folder: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.safetensors"
    (folder / WEIGHTS).rename(secret)
    (folder / WEIGHTS).symlink_to(secret)
    for how in ("path", "load"):
        check_refused(await send(client, folder, how), "a link that leads out")
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        tar.add(folder, "adapter")
    check_refused(await upload(client, made.getvalue(), "gzip"), "a symbolic link")
    made, info = io.BytesIO(), zipfile.ZipInfo(WEIGHTS)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(info, str(secret))
    check_refused(await upload(client, made.getvalue()), "a symbolic link")


async def test_a_bomb_is_refused(client: httpx.AsyncClient, folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(bytes(64 << 20))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    check_refused(await upload(client, made.getvalue()), "decompression bomb")
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        tar.add(folder, "adapter")
    check_refused(await upload(client, made.getvalue(), "gzip"), "decompression bomb")


async def test_an_archive_of_thousands_of_members_is_refused(client: httpx.AsyncClient, folder: Path) -> None:
    made = io.BytesIO(zipped(folder))
    with zipfile.ZipFile(made, "a") as archive:
        for number in range(1001):
            archive.writestr(f"{number}", "")
    check_refused(await upload(client, made.getvalue()), "more than 1000 members", 413, "too_large")


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9])
async def test_an_archive_that_is_cut_short_is_refused(client: httpx.AsyncClient, folder: Path, part: float) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        tar.add(folder, "adapter")
    for content, kind in ((zipped(folder), "zip"), (made.getvalue(), "gzip")):
        error = Error.of(await upload(client, content[: int(len(content) * part)], kind))
        assert (error.status, error.code) == (422, "refused_artifact")
        assert "cut short" in error.message or "neither a zip nor a tar" in error.message


@pytest.mark.parametrize("name", ["Upper", "base", "rag", "a b", "x" * 65, "%00", "a@1", "a+b", "..", "..%2Fx"])
async def test_a_bad_name_is_refused(client: httpx.AsyncClient, folder: Path, name: str) -> None:
    body, headers = zipped(folder), {"content-type": "application/zip"}
    load = {"lora_name": unquote(name), "lora_path": str(folder)}
    by_name = [await client.post("/v1/load_lora_adapter", json=load)]
    if not name.startswith(".."):  # that is another route
        by_name.append(await client.put(f"/v1/adapters/{name}", content=body, headers=headers))
        by_name.append(await client.put(f"/v1/adapters/{name}", json={"path": str(folder)}))
    for response in by_name:
        assert "not a legal name" in Error.of(response).message or "reserved word" in Error.of(response).message
        assert (response.status_code, Error.of(response).code) == (400, "invalid_request")
    assert (await client.put(f"/v1/adapters/{name}", content=body, headers=headers)).status_code in (400, 404, 405)
