"""A live service follows to a new version: one whose name is pinned stays in memory, and so does the new one then."""

from ragtune.errors import RagtuneError
from ragtune.pinned import Pinned
from ragtune.remote import ask_server
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.terminal import say


def follow(settings: Settings, name: str) -> None:
    """A running service keeps the version of a pinned name in memory that it has known; tell it that there is a new
    one. That is published by now, so where the service cannot follow, this is only said."""
    if name not in Pinned(Database(settings.database), "adapter").names():
        return
    try:
        ask_server(settings, "PUT", f"/v1/adapters/{name}/pin")
    except RagtuneError as error:
        say(f"the running service still has the former version of {name} pinned: {error.message}")
