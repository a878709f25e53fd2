"""Which folders a request over HTTP may name: only those inside a root the operator has allowed."""

from collections.abc import Iterable
from pathlib import Path

from ragtune.errors import Forbidden, InvalidRequest


def inside(path: Path, roots: Iterable[Path], setting: str, param: str = "path") -> Path:
    """`path` with all links followed, if it then lies inside one of `roots`, which the setting named `setting` lists.

    Raises InvalidRequest for what is no absolute path, Forbidden outside the roots; both name `param`.
    """
    if not path.is_absolute():
        raise InvalidRequest("the path must be absolute", param=param)
    real = real_path(path, param)
    if not any(real.is_relative_to(root.expanduser().resolve()) for root in roots):
        raise Forbidden(f"this path is not inside an allowed root; add its root to {setting}", param=param)
    return real


def real_path(path: Path, param: str = "path") -> Path:
    """`path` with `~` and all links followed. Raises InvalidRequest for a null character or a name too long."""
    try:
        return path.expanduser().resolve()
    except (ValueError, OSError, RuntimeError) as error:
        raise InvalidRequest("this cannot be a path", param=param) from error
