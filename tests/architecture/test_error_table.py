"""The error tree, its diagram, and the table of statuses agree, so that one handler can answer for all of them."""

import re

from ragtune import errors
from ragtune.errors import RagtuneError

TABLE = {  # code: (status, type), as the HTTP surface documents them
    "internal_error": (500, "server_error"),
    "invalid_request": (400, "invalid_request_error"),
    "context_length_exceeded": (400, "invalid_request_error"),
    "unauthorized": (401, "authentication_error"),
    "forbidden": (403, "permission_error"),
    "unknown_name": (404, "not_found_error"),
    "too_large": (413, "invalid_request_error"),
    "incompatible_parts": (422, "invalid_request_error"),
    "refused_artifact": (422, "invalid_request_error"),
    "already_running": (423, "conflict_error"),
    "overloaded": (429, "overloaded_error"),
    "engine_error": (500, "server_error"),
    "unavailable": (503, "unavailable_error"),
    "interrupted": (503, "unavailable_error"),
    "deadline_exceeded": (504, "server_error"),
    "storage_full": (507, "server_error"),
}


def tree(root: type[RagtuneError] = RagtuneError) -> list[type[RagtuneError]]:
    """The class and all below it that this file defines."""
    return [root, *(found for child in root.__subclasses__() for found in tree(child))]


def test_every_error_has_the_status_and_type_of_the_table_and_a_code_of_its_own() -> None:
    found = [(error.code, (error.status, error.type)) for error in tree() if error.__module__ == errors.__name__]
    assert sorted(found) == sorted(TABLE.items())


def test_no_other_module_adds_an_error_the_handler_does_not_know() -> None:
    assert {error.__module__ for error in tree()} == {errors.__name__}


def test_the_diagram_shows_every_error_with_its_status_and_code() -> None:
    drawn = re.findall(r"(\w+) +(\d{3}) (\w+)", errors.__doc__ or "")
    assert sorted(drawn) == sorted((error.__name__, str(error.status), error.code) for error in tree())


def test_a_conflict_is_never_a_409_because_openai_clients_retry_those() -> None:
    assert 409 not in {error.status for error in tree()}
