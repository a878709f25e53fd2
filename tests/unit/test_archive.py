"""Unpacking what a stranger sent: what is taken, what is left out, what is refused, and that nothing else happens."""

import gzip
import io
import random
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from adapters.archive import unpack
from adapters.member import Limits
from ragtune.errors import RagtuneError, RefusedArtifact, TooLarge

ADAPTER = {"adapter_config.json": b"{}", "adapter_model.safetensors": bytes(range(256)) * 700}
LIMITS = Limits(total=64 << 20, members=20)
Files = Mapping[str, bytes]


def zipped(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip, with warnings about duplicate names left to whoever reads it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def tarred(files: Files, form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar in one of the forms Python writes."""
    return tar_of([(tarfile.TarInfo(name), content) for name, content in files.items()], form)


def tar_of(members: list[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of members as they are given."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as archive:
        for info, content in members:
            info.size = info.size or len(content)
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return made.getvalue()


def special(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    """A member that is no plain file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def gnu_tar(files: Files) -> bytes:
    return tarred(files, tarfile.GNU_FORMAT)


def ustar(files: Files) -> bytes:
    return tarred(files, tarfile.USTAR_FORMAT)


def gzipped(files: Files) -> bytes:
    return gzip.compress(tarred(files))


def stored(files: Files) -> bytes:
    return zipped(files, zipfile.ZIP_STORED)


MAKERS = [zipped, stored, tarred, gnu_tar, ustar, gzipped]
Make = Callable[[Files], bytes]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


@pytest.fixture
def take(tmp_path: Path, target: Path) -> Callable[[bytes], list[str]]:
    """Unpack these bytes."""

    def taking(content: bytes, limits: Limits = LIMITS) -> list[str]:
        archive = tmp_path / "archive"
        archive.write_bytes(content)
        return unpack(archive, target, limits)

    return taking


Take = Callable[..., list[str]]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("place", ["", "./", "my-lora/", "./my-lora/"])
def test_an_adapter_is_taken_from_the_top_or_one_folder_and_the_rest_is_named(
    make: Make, place: str, take: Take, target: Path
) -> None:
    beside = {"README.md": b"#", "checkpoint-1/adapter_config.json": b"[]", "optimizer.pt": b"\x80"}
    ignored = take(make({place + name: content for name, content in (beside | ADAPTER).items()}))
    assert contents(target) == ADAPTER
    assert {Path(name).name for name in ignored} == {"README.md", "adapter_config.json", "optimizer.pt"}
    assert len(ignored) == 3


@pytest.mark.parametrize("make", [tarred, gnu_tar, gzipped, zipped])
def test_long_names_and_whole_models_are_read(make: Make, take: Take, target: Path) -> None:
    folder = "f" * 150 + "ü"
    model = {"config.json": b"{}", "model-00001-of-00002.safetensors": b"1", "model.safetensors.index.json": b"{}"}
    ignored = take(make({f"{folder}/{name}": content for name, content in model.items()} | {f"{folder}/x": b""}))
    assert (contents(target), ignored) == (model, [f"{folder}/x"])


def test_folders_and_headers_about_the_whole_archive_are_passed_over(take: Take, target: Path) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", pax_headers={"comment": "as git archive writes it"}) as archive:
        archive.addfile(special("my-lora", tarfile.DIRTYPE))
        archive.addfile(special("my-lora", tarfile.DIRTYPE))
        for name, content in ADAPTER.items():
            info = tarfile.TarInfo(f"my-lora/{name}")
            info.size, info.pax_headers = len(content), {"SCHILY.xattr.user.a": "=\n" * 50, "mtime": "1.5"}
            archive.addfile(info, io.BytesIO(content))
    assert take(made.getvalue()) == []
    assert contents(target) == ADAPTER


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize(
    "name", ["/etc/x", "../x", "a/../../x", "..", "C:/x", "c:x", "a\\b", "..\\x", "a\x01b", "a\nb", "x" * 1001]
)
def test_a_name_that_leads_elsewhere_is_refused_before_a_byte_is_written(
    make: Make, name: str, take: Take, target: Path
) -> None:
    with pytest.raises(RefusedArtifact, match="the archive's member"):
        take(make(ADAPTER | {name: b"x"}))
    assert contents(target) == {}


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize("name", [f"model{'x' * 250}.safetensors", f"{'ü' * 128}/adapter_config.json"])
def test_a_name_that_no_file_can_have_is_refused(make: Make, name: str, take: Take, target: Path) -> None:
    with pytest.raises(RefusedArtifact, match=r"the archive's member .* more than 255 bytes"):
        take(make(ADAPTER | {name: b"x"}))
    assert contents(target) == {}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a named pipe"),
        (tarfile.GNUTYPE_SPARSE, "a sparse file"),
        (b"Z", "of a kind that is not known here"),
    ],
)
@pytest.mark.parametrize("name", ["adapter_model.safetensors", "harmless.txt"])
def test_what_is_no_plain_file_is_refused_in_a_tar(kind: bytes, words: str, name: str, take: Take) -> None:
    with pytest.raises(RefusedArtifact, match=f"'{name}' is {words}"):
        take(tar_of([(special(name, kind), b"")]))


def test_what_is_no_plain_file_is_refused_in_a_zip(take: Take) -> None:
    for mode, words in ((stat.S_IFLNK, "a symbolic link"), (stat.S_IFIFO, "a device")):
        made, info = io.BytesIO(), zipfile.ZipInfo("adapter_model.safetensors")
        info.create_system, info.external_attr = 3, (mode | 0o777) << 16
        with zipfile.ZipFile(made, "w") as archive:
            archive.writestr(info, "/etc/passwd")
        with pytest.raises(RefusedArtifact, match=words):
            take(made.getvalue())


def test_encrypted_members_and_rare_ways_to_pack_are_refused_in_a_zip(take: Take) -> None:
    encrypted = bytearray(zipped(ADAPTER))
    encrypted[encrypted.rindex(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(RefusedArtifact, match=r"'adapter_model.safetensors' is encrypted"):
        take(bytes(encrypted))
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        with pytest.raises(RefusedArtifact, match=f"method {method}"):
            take(zipped(ADAPTER, method))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(take: Take) -> None:
    twice = [(tarfile.TarInfo("adapter_config.json"), b"{}"), (tarfile.TarInfo("./adapter_config.json"), b"[]")]
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for _ in range(2):
            archive.writestr("adapter_config.json", "{}")
    for content in (tar_of(twice), made.getvalue()):
        with pytest.raises(RefusedArtifact, match=r"'adapter_config\.json' twice"):
            take(content)


@pytest.mark.parametrize("make", [zipped, tarred])
def test_two_adapters_in_one_archive_are_refused(make: Make, take: Take) -> None:
    files = {f"{place}/{name}": content for place in ("one", "two") for name, content in ADAPTER.items()}
    with pytest.raises(RefusedArtifact, match="adapters in one/ and two/"):
        take(make(files))


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "neither a zip nor a tar|no adapter_config.json"),
        (
            {"a/b/adapter_config.json": b"{}"},
            r"no adapter_config.json.*at the top.*\(there is: a/b/adapter_config.json",
        ),
        ({"adapter_config.json": b"{}"}, "no weights"),
        ({"adapter_config.json": b"{}", "adapter_model.bin": b"\x80"}, "adapter_model.bin, a pickle.*runs code"),
        ({"x/adapter_config.json": b"{}", "x/adapter_model.pt": b"\x80"}, "adapter_model.pt, a pickle"),
    ],
)
@pytest.mark.parametrize("make", [zipped, tarred])
def test_an_archive_without_an_adapter_says_what_is_missing(make: Make, files: Files, reason: str, take: Take) -> None:
    with pytest.raises(RefusedArtifact, match=reason):
        take(make(files))


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"\x80\x02}q\x00.", b"\x1f\x8b", b"BZh91AY&SY", b"{}" * 999, bytes(9999)]
)
def test_what_is_no_archive_is_refused_by_its_content(content: bytes, take: Take) -> None:
    with pytest.raises(RefusedArtifact):
        take(content)


@pytest.mark.parametrize("make", [zipped, gzipped])
def test_a_bomb_is_refused_after_a_few_megabytes(make: Make, take: Take, target: Path) -> None:
    bomb = make(ADAPTER | {"adapter_model.safetensors": bytes(48 << 20)})
    assert len(bomb) < 200_000
    with pytest.raises(RefusedArtifact, match="decompression bomb"):
        take(bomb)
    assert sum(len(content) for content in contents(target).values()) < 12 << 20


def test_a_bomb_among_the_files_that_are_left_out_is_refused_where_it_must_be_unpacked_to_get_past(take: Take) -> None:
    with pytest.raises(RefusedArtifact, match="decompression bomb"):
        take(gzipped({"README.md": bytes(48 << 20)} | ADAPTER))
    assert take(zipped({"README.md": bytes(48 << 20)} | ADAPTER)) == ["README.md"]  # nobody unpacks it


@pytest.mark.parametrize("make", MAKERS)
def test_what_unpacks_to_more_than_the_limit_is_too_large(make: Make, take: Take) -> None:
    with pytest.raises(TooLarge, match="RAGTUNE_MAX_UPLOAD"):
        take(make({"adapter_config.json": b"{}", "adapter_model.safetensors": bytes(100_000)}), Limits(total=50_000))


@pytest.mark.parametrize("make", [zipped, tarred])
def test_too_many_members_are_too_large(make: Make, take: Take) -> None:
    with pytest.raises(TooLarge, match="more than 20 members"):
        take(make({f"{number}.txt": b"" for number in range(21)}))


def test_headers_about_members_count_as_members(take: Take, target: Path) -> None:
    pax = tarfile.TarInfo("x")
    pax.type, pax.size = tarfile.XGLTYPE, 15
    header = pax.tobuf() + b"15 comment=no\n\n".ljust(512, b"\0")
    take(header * 18 + tarred(ADAPTER))
    for path in target.iterdir():
        path.unlink()
    with pytest.raises(TooLarge, match="more than 20 members, headers about them included"):
        take(header * 19 + tarred(ADAPTER))
    assert contents(target) == {}


def test_a_list_of_members_that_would_fill_the_memory_is_not_read(take: Take) -> None:
    with pytest.raises(TooLarge, match="list of members"):
        take(zipped({f"{number:0200}": b"" for number in range(5000)}))


def test_a_size_in_a_zips_header_is_not_believed(take: Take, target: Path) -> None:
    honest = zipped({"adapter_config.json": b"{}", "adapter_model.safetensors": b"x" * 1000})

    def lying(size: int) -> bytes:
        return honest.replace(struct.pack("<L", 1000), struct.pack("<L", size))

    take(lying(2**31))
    assert len(contents(target)["adapter_model.safetensors"]) == 1000


def test_a_member_that_unpacks_to_something_else_than_its_checksum_says_is_refused(take: Take) -> None:
    honest = zipped({"adapter_config.json": b"{}", "adapter_model.safetensors": b"x" * 1000})
    with pytest.raises(RefusedArtifact, match="damaged"):
        take(honest.replace(struct.pack("<L", 1000), struct.pack("<L", 10)))


def test_a_size_in_a_tars_header_is_not_believed(take: Take) -> None:
    for size in (10**9, 8**11 - 1, 2**62):
        info = tarfile.TarInfo("adapter_config.json")
        info.size = size
        with pytest.raises(RefusedArtifact, match="cut short"):
            take(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


def test_extended_headers_cannot_fill_the_memory_or_keep_the_reader_busy(take: Take) -> None:
    long = tarfile.TarInfo("././@LongLink")
    long.type, long.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    with pytest.raises(RefusedArtifact, match=f"a header of {1 << 30} bytes"):
        take(long.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))
    for content in (b"9" * 60_000, b"9 path=", b"0 a=b\n", b"11 path\n\n\n\n", b"-3 path=x\n", b"12 size=1e9\n"):
        pax = tarfile.TarInfo("x")
        pax.type, pax.size = tarfile.XHDTYPE, len(content)
        with pytest.raises(RefusedArtifact, match="damaged"):
            take(pax.tobuf() + content + bytes(-len(content) % 512) + tarred(ADAPTER))


def test_a_negative_size_is_refused(take: Take) -> None:
    header = bytearray(tarfile.TarInfo("adapter_config.json").tobuf())
    header[124:136] = b"\xff" * 12
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:512]))
    with pytest.raises(RefusedArtifact, match="damaged: a number"):
        take(bytes(header))


@pytest.mark.parametrize("make", MAKERS)
def test_an_archive_that_is_cut_short_or_changed_anywhere_is_refused_or_read_as_it_was(
    make: Make, take: Take, target: Path
) -> None:
    """Whatever happens, it is one of our own errors, and only wanted names appear in the target."""
    whole, chance = make(ADAPTER | {"README.md": b"#" * 500}), random.Random(0)
    refusals = 0
    for number in range(300):
        broken = bytearray(whole[: chance.randrange(len(whole))] if number % 3 == 0 else whole)
        for _ in range(0 if number % 3 == 0 else chance.randrange(1, 5)):
            broken[chance.choice((chance.randrange(len(broken)), chance.randrange(min(1100, len(broken)))))] ^= (
                1 << chance.randrange(8)
            )
        try:
            take(bytes(broken))
        except RagtuneError:
            refusals += 1
        assert contents(target).keys() <= ADAPTER.keys()
        for path in target.iterdir():
            path.unlink()
    assert refusals > 120
