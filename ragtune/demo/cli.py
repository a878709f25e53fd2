"""`ragtune demo`: the main job from nothing to a verdict on every technique."""

from pathlib import Path

import click

from ragtune.bakeoff.interruption import told_how_to_go_on
from ragtune.demo.demo import Demo
from ragtune.terminal import print_json


@click.command()
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".demo"),
    show_default=True,
    help="Where the company, the home and the results go.",
)
@click.option("--fresh", is_flag=True, help="Delete what an earlier demo left in the folder and start over.")
@click.option("--keep-serving", is_flag=True, help="Leave the server on at the end, until Ctrl-C.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the results as one JSON document; the rest goes to stderr."
)
def demo(folder: Path, fresh: bool, keep_serving: bool, as_json: bool) -> None:
    """Index an invented company, train three techniques for two tasks, serve, and say which is worth it.

    Uses nothing but ragtune's own commands, and shows each. What an earlier run did with the same inputs is not done
    again; after changing ragtune itself, use --fresh.

    \b
    Example:
      ragtune demo --folder .demo
    """
    run = Demo.at(folder, results_to_stderr=as_json)
    if fresh:
        run.start_over()
    with told_how_to_go_on():
        outcome = run.run()
    if as_json:
        print_json(outcome)
    else:
        run.show(outcome)
    if keep_serving:
        run.keep_serving()
