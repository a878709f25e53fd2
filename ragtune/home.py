"""Which server is live on a home: the command line looks here before it guesses a port.

A server announces its URL in `server.json`, a file whose inode it keeps locked for as long as it lives. The file is
locked before it is renamed into place, so whoever finds it locked reads the URL of a live server; after `kill -9` the
operating system has dropped the lock, and the stale file says nothing. A second lock keeps a home to one server.

Beside the URL stands a token, made anew by every server: whoever can read this file, which is the server's own user
alone, may do everything with its home anyway, and is asked for no key.
"""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from ragtune.errors import AlreadyRunning, Forbidden

_ANNOUNCEMENT = "server.json"
_LOCK = "server.lock"


@contextmanager
def announce(home: Path, url: str) -> Iterator[str]:
    """Make `url` the live server of `home` while the context is open; gives the token that callers here will show.

    Raises AlreadyRunning if there is one.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / _LOCK).open("a") as only:
        if not _try_lock(only, fcntl.LOCK_EX):
            other = live(home)
            where = other.url if other else "an address it has not announced yet"
            raise AlreadyRunning(f"a server already runs on {home}, at {where}; stop it or use another RAGTUNE_HOME")
        announced, token = home / _ANNOUNCEMENT, secrets.token_hex(32)
        beside = home / f".{_ANNOUNCEMENT}.{os.getpid()}"
        beside.unlink(missing_ok=True)  # of a killed server with our number: the mode below is that of a new file
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            json.dump({"url": url, "pid": os.getpid(), "token": token}, file)
            file.flush()
            beside.rename(announced)
            try:
                yield token
            finally:
                announced.unlink(missing_ok=True)


class LiveServer(NamedTuple):
    """Where the server of a home listens, what to show it instead of a key, and its process."""

    url: str
    token: str
    pid: int


def live(home: Path) -> LiveServer | None:
    """The server that lives on `home` now, or None. Raises Forbidden if it is another user's."""
    try:
        with (home / _ANNOUNCEMENT).open(encoding="utf-8") as file:
            if _try_lock(file, fcntl.LOCK_SH):
                return None
            found = json.load(file)
            return LiveServer(found["url"], found["token"], found["pid"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise Forbidden(
            f"the server on {home} belongs to another user; name it with --url, and a key in RAGTUNE_API_KEY"
        ) from error


def _try_lock(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
