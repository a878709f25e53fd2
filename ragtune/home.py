"""Which server is live on a home: the command line looks here before it guesses a port.

A server announces its URL in `server.json`, a file whose inode it keeps locked for as long as it lives. The file is
locked before it is renamed into place, so whoever finds it locked reads the URL of a live server; after `kill -9` the
operating system has dropped the lock, and the stale file says nothing. A second lock keeps a home to one server.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ragtune.errors import AlreadyRunning

_ANNOUNCEMENT = "server.json"
_LOCK = "server.lock"


@contextmanager
def announce(home: Path, url: str) -> Iterator[None]:
    """Make `url` the live server of `home` while the context is open. Raises AlreadyRunning if there is one."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / _LOCK).open("a") as only:
        if not _try_lock(only, fcntl.LOCK_EX):
            where = live_server(home) or "an address it has not announced yet"
            raise AlreadyRunning(f"a server already runs on {home}, at {where}; stop it or use another RAGTUNE_HOME")
        announced = home / _ANNOUNCEMENT
        beside = home / f".{_ANNOUNCEMENT}.{os.getpid()}"
        with beside.open("w", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            json.dump({"url": url, "pid": os.getpid()}, file)
            file.flush()
            beside.rename(announced)
            try:
                yield
            finally:
                announced.unlink(missing_ok=True)


def live_server(home: Path) -> str | None:
    """The URL of the server that lives on `home` now, or None."""
    try:
        with (home / _ANNOUNCEMENT).open(encoding="utf-8") as file:
            if _try_lock(file, fcntl.LOCK_SH):
                return None
            return str(json.load(file)["url"])
    except (FileNotFoundError, NotADirectoryError):
        return None


def _try_lock(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
