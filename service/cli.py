"""`ragtune serve`, `ragtune query`, `ragtune compare`."""

import click

from ragtune.remote import call, target
from ragtune.settings import Settings
from ragtune.terminal import print_json, print_table, say, show
from ragtune.wire import Answer, CompareResponse

_url = click.option("--url", help="The service; by default the one that runs on this RAGTUNE_HOME.")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
_max_tokens = click.option(
    "--max-tokens", default=128, show_default=True, type=click.IntRange(1), help="New tokens at most."
)
_top_k = click.option("--top-k", type=click.IntRange(1, 100), help="Passages at most.")


@click.command()
@click.option("--host", help="Address to listen on [default: 127.0.0.1].")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one [default: 8000].")
def serve(host: str | None, port: int | None) -> None:
    """Serve all modes over HTTP until stopped.

    \b
    Example:  ragtune serve --port 8000
    """
    from service.aside import leave
    from service.server import serve_until_stopped  # brings torch; the other commands do without

    serve_until_stopped(Settings.load(host=host, port=port))
    leave()


@click.command()
@click.argument("text")
@click.option("--mode", default="base", show_default=True, help="What to combine, e.g. support-lora+rag.")
@_max_tokens
@_top_k
@_url
@_as_json
def query(text: str, mode: str, max_tokens: int, top_k: int | None, url: str | None, as_json: bool) -> None:
    """Ask a running service one question.

    \b
    Example:  ragtune query "How long is the warranty?" --mode rag
    """
    body = {"query": text, "mode": mode, "max_tokens": max_tokens, "top_k": top_k}
    answer = Answer.model_validate(_ask(url, "/v1/query", body))
    if as_json:
        print_json(answer)
        return
    show(answer.text.strip())
    show()
    for passage in answer.passages:
        place = f"{passage.document}:{passage.start}-{passage.end}"
        show(f"  [{passage.number}] {passage.score:.2f} {' > '.join(passage.heading)} ({place})")
    show(f"  {_line(answer)}")
    for note in answer.notes:
        say(f"note: {note}")


@click.command()
@click.argument("text")
@click.option("--mode", "modes", multiple=True, required=True, help="A mode; give the option several times.")
@_max_tokens
@_top_k
@_url
@_as_json
def compare(
    text: str, modes: tuple[str, ...], max_tokens: int, top_k: int | None, url: str | None, as_json: bool
) -> None:
    """Ask one question in several modes at once.

    \b
    Example:  ragtune compare "How long is the warranty?" --mode base --mode rag
    """
    body = {"query": text, "modes": modes, "max_tokens": max_tokens, "top_k": top_k}
    compared = CompareResponse.model_validate(_ask(url, "/v1/compare", body))
    if as_json:
        print_json(compared)
        return
    rows = [
        (a.resolved_mode, a.text.strip(), a.usage.prompt_tokens, a.timings.first_token_ms) for a in compared.answers
    ]
    print_table(("mode", "answer", "prompt tokens", "first token ms"), rows)
    for note in dict.fromkeys(note for answer in compared.answers for note in answer.notes):
        say(f"note: {note}")


def _ask(url: str | None, path: str, body: dict[str, object]) -> object:
    return call("POST", target(Settings.load(), url), path, body)


def _line(answer: Answer) -> str:
    usage, timings = answer.usage, answer.timings
    return (
        f"{answer.resolved_mode} · {usage.prompt_tokens} prompt tokens ({usage.cached_tokens} cached), "
        f"{usage.completion_tokens} new · first token {timings.first_token_ms:.0f} ms, all {timings.total_ms:.0f} ms"
    )
