"""What a suite that came over HTTP may reach: files inside allowed roots, and no service but the one that was asked.

Whoever may ask a service for an evaluation could otherwise have it read any file, call any address, and show that
address any variable of its environment.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel

from eval.suite import Suite
from ragtune.errors import Forbidden
from ragtune.roots import inside

_OUTSIDE = ("endpoint", "api_key_env")


def check_confined(suite: Suite, roots: Iterable[Path]) -> None:
    """Raises Forbidden, naming the field, for a path outside `roots`, an endpoint or a key; InvalidRequest for a path
    that is not absolute."""
    allowed = tuple(roots)
    for place, value in _leaves(suite, ()):
        field = ".".join(place)
        if isinstance(value, Path):
            inside(value, allowed, "RAGTUNE_EVALUATION_ROOTS", field)
        elif place[-1] in _OUTSIDE and value is not None:
            raise Forbidden(
                f"{field}: over HTTP only this service's own modes are evaluated; use 'ragtune eval run' for others",
                param=field,
            )


def _leaves(value: object, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every value that holds no others, with where it stands."""
    if isinstance(value, BaseModel):
        inner: Iterable[tuple[object, object]] = ((name, getattr(value, name)) for name in type(value).model_fields)
    elif isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, tuple | list):
        inner = enumerate(value)
    else:
        yield place, value
        return
    for name, each in inner:
        yield from _leaves(each, (*place, str(name)))
