"""What trainings and indexes cost: all that made them, and nothing that only looked at them."""

import asyncio
from typing import Any

import httpx
import pytest

from eval.bills import indexed, trained
from eval.client import Service
from ragtune.mode import Mode

BILL = {"wall_seconds": 100.0, "peak_memory": 7, "artifact_bytes": 3, "price": 2.0}
TRAINING = {"seconds": 60.0, "steps": 4, "examples": 9, "data_sha256": "d"}


def service(**manifest: Any) -> Service:
    """One that knows a single adapter or index, with this manifest."""
    told = {"version": "known@2", "manifest": manifest}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=told))
    client = httpx.AsyncClient(transport=transport, base_url="http://known")
    return Service(client, "http://known", deadline=9)


def test_what_only_measures_is_no_cost_of_the_adapter() -> None:
    measured = BILL | {"measuring_seconds": 25.0}
    for bill, seconds, price in ((BILL, 100, 2), (measured, 75, 1.5)):
        found = asyncio.run(trained(service(bytes=3, training=TRAINING | {"bill": bill}), Mode.parse("known")))
        assert found is not None and (found.seconds, found.price) == pytest.approx((seconds, price))


def test_an_index_costs_all_its_builds_and_its_next_change_what_the_last_one_did() -> None:
    found = asyncio.run(indexed(service(seconds=6.5, paid_seconds=79.0, passages=5), Mode.parse("rag:known")))
    assert found is not None and (found.seconds, found.update_seconds) == (79, 6.5)


def test_what_an_index_cost_in_all_is_unknown_where_a_build_was_not_recorded() -> None:
    found = asyncio.run(indexed(service(seconds=6.5, passages=5), Mode.parse("rag:known")))
    assert found is not None and (found.seconds, found.update_seconds) == (None, 6.5)
