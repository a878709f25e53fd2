"""Going on with a run where it was cut off, and taking over answers of an earlier one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eval.identity import ONLY_SPEED, differences
from eval.runfile import Header, Item, Unfinished, read_run, read_unfinished
from ragtune.errors import RefusedArtifact

_SHOWN = 5


@dataclass(frozen=True)
class Resuming:
    """How to begin: `fresh` whatever is in the folder, failed items asked again or not, answers of a run `reuse`d,
    and leaks allowed or not. With `roots`, training files are looked at only inside one of them."""

    fresh: bool = False
    retry_failed: bool = False
    reuse: Path | None = None
    allow_leaks: bool = False
    roots: tuple[Path, ...] | None = None


@dataclass(frozen=True)
class Earlier:
    """What need not be asked: items `kept` of this run, which is `whole` or was cut off, and by key those of another
    run that asked the same. `header` is what the run began with, None if this is its first sitting."""

    kept: tuple[Item, ...] = ()
    header: Header | None = None
    seconds: float = 0.0
    whole: bool = False
    reusable: Mapping[str, Item] = field(default_factory=dict)


def earlier(folder: Path, header: Header, how: Resuming) -> Earlier:
    """What is there. Raises RefusedArtifact if the folder holds another run than the one of this header."""
    reusable = {item.key: item for item in read_run(how.reuse).items if item.key and item.reply} if how.reuse else {}
    found = None if how.fresh else read_unfinished(folder)
    if found is None:
        return Earlier(reusable=reusable)
    _check_same(folder, found, header)
    kept = tuple(item for item in found.items if item.error is None or not how.retry_failed)
    return Earlier(kept, found.header, found.seconds, found.whole, reusable)


def revised(found: Header, now: Header) -> Header:
    """The header of a whole run that the suite of `now` is to be reported of: what takes no question to change."""
    as_it_ran = {name: getattr(found.suite, name) for name in ONLY_SPEED}
    return found.model_copy(
        update={"suite": now.suite.model_copy(update=as_it_ran), "leaks": now.leaks, "unchecked": now.unchecked}
    )


def _check_same(folder: Path, found: Unfinished, header: Header) -> None:
    if differ := differences(found.header, header):
        more = f", and {len(differ) - _SHOWN} more" if len(differ) > _SHOWN else ""
        raise RefusedArtifact(
            f"{folder} holds another run: {'; '.join(differ[:_SHOWN])}{more}. Choose another --out, or start over "
            "there with --fresh"
        )
