"""Stands in the place of `ragtune` where a bake-off or the demo runs its commands.

It notes what it is asked in `asked` beside the home, publishes versions as the real commands do, serves, answers and
searches as the training files say, checks suites as the real one does, and writes a report whose verdict is what the
environment says:

    FAILS, HANGS    adapters whose training fails, or does not end
    SERVED          tasks whose questions its index answers, comma separated
    CHOSEN          the arms its verdicts choose, as task=arm, comma separated
"""

import http.server
import json
import os
import sys
import time
from pathlib import Path

from ragtune.home import announce

HOME = Path(os.environ["RAGTUNE_HOME"])
FOLDER = HOME.parent


def names(variable: str) -> list[str]:
    """The environment's list."""
    return [name for name in os.environ.get(variable, "").split(",") if name]


def publish(kind: str, name: str) -> None:
    """A new version, with nothing in it."""
    from pydantic import BaseModel  # here, as most commands do without

    from ragtune.store import Database
    from ragtune.versions import Versions

    class Empty(BaseModel):
        """A manifest."""

    versions = Versions(HOME, Database(HOME / "ragtune.db"), kind, Empty)
    with versions.staging() as staged:
        versions.publish(name, staged, Empty())


class Service(http.server.BaseHTTPRequestHandler):
    """Ready at once; knows the training examples."""

    def do_GET(self) -> None:
        """/readyz"""
        self.answer({})

    def do_POST(self) -> None:
        """/v1/query, and a search in an index"""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(found(body["query"]) if self.path.endswith("/search") else answered(body))

    def answer(self, body: dict[str, object]) -> None:
        """With 200"""
        written = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(written)))
        self.end_headers()
        self.wfile.write(written)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def answered(body: dict[str, str]) -> dict[str, object]:
    """An answer of the length that is usual."""
    passages = body["mode"] != "base"
    usage = {"prompt_tokens": 170 if passages else 50, "completion_tokens": 10}
    plain = {"id": "q", "mode": body["mode"], "resolved_mode": body["mode"], "versions": {}, "timings": {}}
    return plain | {"text": "so", "finish_reason": "stop", "usage": usage}


def found(query: str) -> dict[str, object]:
    """The passage that answers a training question, for tasks that are served; else one that does not."""
    passage = {"id": "p", "document": "other.md", "text": "Nothing of the kind.", "start": 0, "end": 1}
    for file in sorted(FOLDER.glob("train-*.jsonl")):
        for example in map(json.loads, file.read_text().splitlines()):
            if example["query"] == query and example.get("task") in names("SERVED"):
                gold = example.get("gold_documents", ["gold.md"])[0] if example.get("gold_documents") else "gold.md"
                passage |= {"document": gold, "text": f"It is {example['answers'][0]}.", "heading": ["A", "B"]}
    return {"version": "docs@1", "method": "hybrid", "passages": [passage]}


def serve() -> None:
    """Until it is ended."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    (FOLDER / "pid").write_text(str(os.getpid()))
    with announce(HOME, f"http://127.0.0.1:{server.server_port}"):
        server.serve_forever()


def train(adapter: str) -> None:
    """Publish it, fail, or hang."""
    (FOLDER / "pid").write_text(str(os.getpid()))
    if adapter in names("FAILS"):
        sys.exit("error: the reason")
    if adapter in names("HANGS"):
        time.sleep(60)
    publish("adapter", adapter)


def check(suite: Path, *, allow_leaks: bool) -> None:
    """Say what the evaluator says."""
    from eval.check import checked  # here, as other commands do without
    from eval.plan import plan
    from eval.suite import read_suite
    from ragtune.errors import RagtuneError

    try:
        checked(plan(read_suite(suite)), allow_leaks=allow_leaks)
    except RagtuneError as error:
        sys.exit(f"error: {error.message}")


def evaluate(folder: Path) -> None:
    """A run, and the verdict that is wanted."""
    folder.mkdir(exist_ok=True)
    chosen = dict(pair.split("=", 1) for pair in names("CHOSEN"))
    verdicts = [
        {"task": task, "best": arm, "chosen": arm, "words": [f"Take {arm}.", "It is the cheapest."]}
        for task, arm in chosen.items()
    ]
    print(json.dumps({"report": {"verdicts": verdicts}, "examples": []}))


def main(asked: list[str]) -> None:
    """One command."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "asked").open("a") as log:
        print(*asked, file=log)
    match asked:
        case ["serve", *_]:
            serve()
        case ["template", "add", name, _]:
            publish("template", name)
        case ["index", "build", _, "--name", name]:
            publish("index", name)
        case ["train", recipe, *_]:
            train(Path(recipe).stem)
        case ["eval", "run", suite, "--check", *flags]:
            check(Path(suite), allow_leaks="--allow-leaks" in flags)
        case ["eval", "run", _, "--out", folder, *_]:
            evaluate(Path(folder))
        case ["eval", "report", _, "--html", page, *_]:
            Path(page).write_text("<html>")
            print("# the report")
        case ["eval", "report", *_]:
            print("the table")


if __name__ == "__main__":
    main(sys.argv[1:])
