"""Whoever deletes waits for those who hold, and for nobody else."""

import asyncio

import pytest

from service.pins import Pins


async def test_a_key_is_released_when_its_last_holder_has_gone() -> None:
    pins = Pins()
    with pins.hold(["a", "b"]):
        with pins.hold(["a"]):
            waiting = asyncio.create_task(pins.released(["a"]))
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
    await asyncio.wait_for(waiting, 1)


async def test_what_nobody_holds_is_released_at_once() -> None:
    pins = Pins()
    with pins.hold(["a"]):
        await asyncio.wait_for(pins.released(["b"]), 1)
    await asyncio.wait_for(pins.released(["a", "b"]), 1)


async def test_a_holder_that_fails_lets_go_and_one_who_stops_waiting_disturbs_nobody() -> None:
    pins = Pins()
    with pytest.raises(ZeroDivisionError), pins.hold(["a"]):
        first, second = (asyncio.create_task(pins.released(["a"])) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        _ = 1 / 0
    await asyncio.wait_for(second, 1)
