"""A document over HTTP: the body as a file, which is read beside the event loop."""

import asyncio
from functools import partial
from pathlib import PurePosixPath

from starlette.requests import Request

from indexer.documents import Metadata
from indexer.uploading import Upload, check_file_id, read_upload
from service.aside import Aside
from service.intake import write_body
from service.parts import Parts

_READING = Aside(1, "reading")


async def received_file(request: Request, id: str, title: str | None, metadata: Metadata, parts: Parts) -> Upload:  # noqa: A002
    """The documents of the file in the body. Raises what `read_upload` raises, and ClientGone."""
    check_file_id(id)
    with parts.indexes.versions.staging() as staged:
        path = staged / f"upload{PurePosixPath(id).suffix.lower()}"
        await write_body(request, path)
        read = partial(read_upload, path, id, title, metadata)
        return await asyncio.get_running_loop().run_in_executor(_READING, read)
