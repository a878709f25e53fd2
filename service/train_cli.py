"""`ragtune train`: a training as a job of this process, with a bar that shows how far it is."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from adapters.example_files import read_all
from adapters.manifest import AdapterManifest
from adapters.recipe import RATES, Recipe, read_recipe
from indexer.store import Indexes
from ragtune.audit import AuditLog
from ragtune.errors import Cancelled, Forbidden
from ragtune.home import live
from ragtune.job import in_words
from ragtune.jobs import Jobs
from ragtune.mode import check_alias
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.templates import Templates
from ragtune.terminal import Task, notes, person, print_json, progress, say, show
from ragtune.versions import Version
from service.training import JOB, MOST_RATES, Diary, TrainingSpec, bounded, carry_out, check_named, resource

_USUAL = "the method's usual rates"
_NICE = 10  # beside a service


class Rates(click.ParamType):  # type: ignore[type-arg]
    """Learning rates, comma separated."""

    name = "rates"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        """A tuple of floats; the flag alone stays what it is."""
        if not isinstance(value, str) or value == _USUAL:
            return value
        try:
            rates = tuple(float(part) for part in value.split(","))
        except ValueError:
            rates = ()
        if not 0 < len(rates) <= MOST_RATES or not all(0 < rate < 10 for rate in rates):
            self.fail(
                f"{value!r} are no learning rates, as 1e-4,5e-4 are; for {_USUAL} let --search stand last", param, ctx
            )
        return rates


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "--search",
    type=Rates(),
    is_flag=False,
    flag_value=_USUAL,
    metavar="[RATES]",
    help="Choose the learning rate first, by short runs: among RATES (1e-4,5e-4,2e-3), or the method's usual ones.",
)
@click.option(
    "--interference", is_flag=True, help="Train each task alone, too, and show what training together costs it."
)
@click.option("--alias", help="Let NAME@ALIAS mean the new version, as in support-lora@prod.")
@click.option("--fresh", is_flag=True, help="Do not go on with a training of this recipe that was ended.")
@click.option("--check", "only_check", is_flag=True, help="Read, compare and count the data; train nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def train(
    recipe: Path, search: object, interference: bool, alias: str | None, fresh: bool, only_check: bool, as_json: bool
) -> None:
    """Train the adapter that the TOML file RECIPE describes, try it on the engine, and publish it.

    \b
    A recipe:
      name = "support-lora"        # the adapter it becomes
      method = "lora"              # full, partial, lora, dora, ia3, prompt_tuning, p_tuning, prefix_tuning,
                                   # or, on a GPU, qlora
      train = "train.jsonl"        # {"id", "query", "answers": [...]} a line; relative to the recipe
      index = "handbook"           # optional: train on retrieved passages, as +rag serves them
    \b
    Example:  ragtune train support-lora.toml
              ragtune train support-lora.toml --alias prod --search

    One that was ended (Ctrl-C, 'ragtune job cancel', a crash) goes on where it was when it is started again. Beside a
    running service it is niced, and has RAGTUNE_TRAINING_THREADS; what it publishes is served with the next request.
    """
    parsed, written = read_recipe(recipe)
    if alias is not None:
        check_alias(alias)
    beside = _beside_a_service(settings := Settings.load())
    settings = bounded(settings, beside=beside)
    database = Database(settings.database)  # what is wrong already is told before there is a job
    check_named(parsed, Templates(settings.home, database), Indexes(settings.home, database))
    read_all(parsed)
    if only_check and as_json:
        raise click.UsageError("--check shows what it found to people; leave --json out")
    if only_check:
        from adapters.material import check

        check(parsed, settings)
        return
    if beside:
        os.nice(_NICE)
    spec = TrainingSpec(
        recipe=written,
        folder=str(recipe.parent.resolve()),
        alias=alias,
        search=_rates(search, parsed),
        interference=interference,
        fresh=fresh,
    )
    version = _run(spec, parsed, settings)
    AuditLog(database).command("train", str(version))
    _show(version, alias, as_json)


def _beside_a_service(settings: Settings) -> bool:
    try:
        return live(settings.home) is not None
    except Forbidden:  # another user's
        return True


def _rates(search: object, recipe: Recipe) -> tuple[float, ...]:
    if search is None:
        return ()
    return RATES[recipe.method] if search == _USUAL else tuple(search)  # type: ignore[arg-type]


def _run(spec: TrainingSpec, recipe: Recipe, settings: Settings) -> Version[AdapterManifest]:
    jobs, asked = Jobs(Database(settings.database), settings.home), spec.model_dump(mode="json")
    with (
        _told_how_to_go_on(),
        jobs.run(JOB, resource(recipe.name), asked, author=person()) as running,
        progress(f"training {recipe.name}", None) as bar,
    ):
        shown = Shown(bar, recipe.name)
        version = carry_out(running, settings, shown.tell)
        shown.end()
    return version


@contextmanager
def _told_how_to_go_on() -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, Cancelled):
        say("ended, and nothing was published; the same command goes on where this was, with --fresh it begins anew")
        raise


class Shown:
    """A training's bar: what it is at, how far, the last figures; where no terminal draws it, lines now and then."""

    def __init__(self, bar: Task, name: str) -> None:
        self._bar = bar
        self._name = name
        self._diary = None if notes.is_terminal else Diary()
        self._steps = 0

    def tell(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Told of every step."""
        if self._diary is not None:
            self._diary.tell(stage, done, total, figures)
        else:
            self._bar.stage(f"{self._name}: {stage}", done, total)
            self._bar.describe(", ".join(in_words(figures)))
        if stage == "training":
            self._steps = done

    def end(self) -> None:
        """What is left standing are the steps of the training."""
        self._bar.stage(f"training {self._name}", self._steps, self._steps)


def _show(version: Version[AdapterManifest], alias: str | None, as_json: bool) -> None:
    from adapters.train import mode_of

    record = version.manifest.training
    if as_json:
        print_json({"version": str(version), "aliases": version.aliases, "manifest": version.manifest})
    elif record is not None:
        last = "" if record.final_loss is None else f"last loss {record.final_loss:.3f}, "
        show(
            f"published {version}: {record.method}, {record.steps} steps on {record.examples} examples in "
            f"{record.seconds:.0f} s, {last}{record.trainable_parameters:,} parameters, "
            f"{version.manifest.bytes / 1e6:.1f} MB"
        )
        if alias is not None:
            show(f"{version.name}@{alias} means it now")
        show(f"ask it:  ragtune query '...' --mode {mode_of(version)}")
