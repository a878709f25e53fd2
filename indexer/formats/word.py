"""DOCX: through HTML to Markdown. The archive is checked before anything in it is unpacked."""

import zipfile
from pathlib import Path, PurePosixPath

import mammoth

from indexer.documents import Document
from indexer.formats.markdown import heading
from indexer.formats.web import as_markdown
from ragtune.errors import RefusedArtifact

MOST_BYTES = 256 << 20
_MOST_UNPACKED = 512 << 20
_LONGEST_PART = 64 << 20  # of the XML, which takes many times its size in memory
_MOST_MEMBERS = 10_000
_CHUNK = 1 << 20
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read(path: Path, name: str) -> list[Document]:
    """The body as one document, entitled by its first heading. Raises RefusedArtifact, OSError."""
    with path.open("rb") as file:
        if path.stat().st_size > MOST_BYTES:
            raise RefusedArtifact(f"larger than {MOST_BYTES >> 20} MiB; split it")
        if not (start := file.read(len(_OLE))):
            raise RefusedArtifact("the file is empty")
        if start == _OLE:
            raise RefusedArtifact("is encrypted, or an old .doc: save it as .docx without a password")
        try:
            check_archive(zipfile.ZipFile(file))
        except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, ValueError, NotImplementedError) as error:
            raise RefusedArtifact(f"is cut off or damaged: {error}") from error
        file.seek(0)
        html = mammoth.convert_to_html(file, convert_image=_no_image).value
    _, text = as_markdown(html)
    return [Document(name, heading(text) or PurePosixPath(name).stem, text, markdown=True)]


def check_archive(archive: zipfile.ZipFile) -> None:
    """Unpack everything once into nothing. Raises RefusedArtifact for a bomb, by what it says and by what it does."""
    members = archive.infolist()
    if "word/document.xml" not in archive.namelist():
        raise RefusedArtifact("is no Word document: it has no word/document.xml")
    if len(members) > _MOST_MEMBERS or sum(member.file_size for member in members) > _MOST_UNPACKED:
        raise RefusedArtifact(f"would unpack to more than {_MOST_UNPACKED >> 20} MiB or {_MOST_MEMBERS} files")
    room = _MOST_UNPACKED
    for member in members:
        if member.flag_bits & 1:
            raise RefusedArtifact("is encrypted: save it without a password")
        if member.compress_type not in _METHODS:
            raise RefusedArtifact("is packed in a way that Word does not use")
        room -= _unpacked(archive, member, room)


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, room: int) -> int:
    """The bytes that a member really unpacks to."""
    declared, size = member.file_size, 0
    most = min(room, _LONGEST_PART) if member.filename.endswith((".xml", ".rels")) else room
    member.file_size = most + 2 * _CHUNK  # zipfile stops at what is declared, which may be a lie
    with archive.open(member) as file:
        while size <= most and (chunk := file.read(_CHUNK)):
            size += len(chunk)
    member.file_size = declared
    if size > most:
        raise RefusedArtifact(f"{member.filename[:60]!a} unpacks to more than {most >> 20} MiB")
    if size != declared:
        raise RefusedArtifact(f"{member.filename[:60]!a} unpacks to another size than the archive says")
    return size


def _no_image(_: object) -> list[object]:
    return []
