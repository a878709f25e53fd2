"""Which folders a request over HTTP may name: only those inside a root the operator has allowed."""

import errno
from collections.abc import Iterable
from pathlib import Path

from ragtune.errors import Forbidden, InvalidRequest

_ABSENT = (errno.ENOENT, errno.ENOTDIR)


def inside(path: Path, roots: Iterable[Path], setting: str, param: str = "path") -> Path:
    """`path` with all links followed, if it then lies inside one of `roots`, which the setting named `setting` lists.

    Raises InvalidRequest for what is no absolute path or cannot be looked at, Forbidden outside the roots, whatever
    is there; both name `param`.
    """
    if not path.is_absolute():
        raise InvalidRequest("the path must be absolute", param=param)
    real = followed(path, param)
    if not any(real.is_relative_to(root.expanduser().resolve()) for root in roots):
        raise Forbidden(f"this path is not inside an allowed root; add its root to {setting}", param=param)
    return real_path(real, param)


def real_path(path: Path, param: str = "path") -> Path:
    """`path` with `~` and all links followed; there may be nothing.

    Raises InvalidRequest for one that cannot be looked at: too long, or in a folder that is closed to us.
    """
    real = followed(path, param)
    try:
        real.stat()
    except OSError as error:
        if error.errno not in _ABSENT:
            raise InvalidRequest(
                f"this path cannot be used ({error.strerror}); name a shorter one, or one that can be read", param=param
            ) from error
    return real


def followed(path: Path, param: str = "path") -> Path:
    """`path` with `~` and all links followed, without a look at what is there. Raises InvalidRequest for a null
    character, or links in a circle."""
    try:
        return path.expanduser().resolve()
    except (ValueError, OSError, RuntimeError) as error:
        raise InvalidRequest("this cannot be a path", param=param) from error
