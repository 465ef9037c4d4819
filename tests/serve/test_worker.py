"""Which jobs the worker computes together, and what each of them gets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence

import pytest
from asgi import until

from brainmtl.serve.worker import ClientGoneError, Worker


class Doubling:
    """Twice each number; items that are exceptions are their own outcome; "bad" fails the whole call."""

    def __init__(self) -> None:
        self.calls: list[list[object]] = []

    def __call__(self, items: Sequence[object]) -> Iterator[object]:
        self.calls.append(list(items))
        if "bad" in items:
            raise ValueError("bad")
        for item in items:
            yield item if isinstance(item, Exception) else 2 * item


async def busy(worker: Worker) -> tuple[threading.Event, asyncio.Future[bool]]:
    """A job that the worker's thread runs until the event is set."""
    begun, release = threading.Event(), threading.Event()

    def job() -> bool:
        begun.set()
        return release.wait()

    running = asyncio.ensure_future(worker.run(job))
    await until(begun.is_set)
    return release, running


async def together(worker: Worker, compute: Doubling, items: Sequence[object]) -> list[object]:
    """Outcomes of items that come while the worker is busy, in order."""
    release, running = await busy(worker)
    waiting = [asyncio.ensure_future(worker.run_together(compute, item)) for item in items]
    await until(lambda: len(worker._waiting) == len(items))
    release.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    await running
    return outcomes


def test_those_that_wait_are_computed_together_up_to_the_limit() -> None:
    compute = Doubling()

    async def scenario() -> None:
        worker = Worker(20, max_batch=3)
        assert await together(worker, compute, [1, 2, 3, 4, 5, 6, 7]) == [2, 4, 6, 8, 10, 12, 14]
        assert await worker.run_together(compute, 8) == 16
        await worker.close()

    asyncio.run(scenario())
    assert compute.calls == [[1, 2, 3], [4, 5, 6], [7], [8]]


def test_one_means_one_after_another() -> None:
    compute = Doubling()

    async def scenario() -> None:
        worker = Worker(20)
        assert await together(worker, compute, [1, 2]) == [2, 4]
        await worker.close()

    asyncio.run(scenario())
    assert compute.calls == [[1], [2]]


def test_a_failing_item_fails_alone() -> None:
    """By its own outcome, or because the call with it fails: then the others are computed without it."""
    compute, own = Doubling(), KeyError("own")

    async def scenario() -> None:
        worker = Worker(20, max_batch=8)
        assert await together(worker, compute, [1, own, 3]) == [2, own, 6]
        first, bad, last = await together(worker, compute, [1, "bad", 3])
        assert (first, last) == (2, 6) and isinstance(bad, ValueError)
        assert await worker.run_together(compute, 5) == 10  # the thread lives
        await worker.close()

    asyncio.run(scenario())
    assert compute.calls == [[1, own, 3], [1, "bad", 3], [1], ["bad"], [3], [5]]


def test_what_has_its_outcome_is_not_computed_again() -> None:
    calls: list[list[int]] = []

    def second_fails(items: Sequence[int]) -> Iterator[int]:
        calls.append(list(items))
        for item in items:
            if item == 2:
                raise ValueError("two")
            yield 10 * item

    async def scenario() -> None:
        worker = Worker(20, max_batch=8)
        first, second, third = await together(worker, second_fails, [1, 2, 3])
        assert (first, third) == (10, 30) and isinstance(second, ValueError)
        await worker.close()

    asyncio.run(scenario())
    assert calls == [[1, 2, 3], [2], [3]]


def test_too_few_outcomes_are_an_error_and_nobody_waits_for_ever() -> None:
    async def scenario() -> None:
        worker = Worker(20, max_batch=8)
        async with asyncio.timeout(60):
            with pytest.raises(ValueError):
                await worker.run_together(lambda items: iter(()), 1)
        await worker.close()

    asyncio.run(scenario())


def test_other_jobs_keep_their_turn_and_are_overtaken_once_at_most() -> None:
    order: list[object] = []

    class Noting(Doubling):
        def __call__(self, items: Sequence[object]) -> Iterator[object]:
            order.append(list(items))
            return super().__call__(items)

    compute = Noting()

    async def scenario() -> None:
        worker = Worker(20, max_batch=2)
        release, running = await busy(worker)
        jobs = [worker.run_together(compute, 1), worker.run(lambda: order.append("volume"))]
        jobs += [worker.run_together(compute, item) for item in (2, 3)]
        waiting = [asyncio.ensure_future(job) for job in jobs]
        await until(lambda: len(worker._waiting) == 4)
        release.set()
        await asyncio.gather(running, *waiting)
        await worker.close()

    asyncio.run(scenario())
    assert order == [[1, 2], "volume", [3]]


def test_those_whose_client_has_left_are_not_computed() -> None:
    compute = Doubling()

    async def scenario() -> None:
        worker, left = Worker(20, max_batch=8), asyncio.Event()
        release, running = await busy(worker)
        leaving = asyncio.ensure_future(worker.run_together(compute, 1, left.wait))
        staying = asyncio.ensure_future(worker.run_together(compute, 2, asyncio.Event().wait))
        await until(lambda: len(worker._waiting) == 2)
        left.set()
        with pytest.raises(ClientGoneError):
            await leaving
        release.set()
        assert await staying == 4
        await running
        await worker.close()

    asyncio.run(scenario())
    assert compute.calls == [[2]]


def test_closing_drops_what_waits() -> None:
    compute = Doubling()

    async def scenario() -> None:
        worker = Worker(20, max_batch=8)
        release, running = await busy(worker)
        waiting = asyncio.ensure_future(worker.run_together(compute, 1))
        await until(lambda: len(worker._waiting) == 1)
        closing = asyncio.ensure_future(worker.close())
        await until(lambda: not worker._waiting)
        release.set()
        await closing
        assert await running is True
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(scenario())
    assert compute.calls == []
