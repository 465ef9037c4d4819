"""One thread that computes, a bounded number of requests that wait for it, and no event loop blocked."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from brainmtl.serve.errors import ApiError

Item = TypeVar("Item")
Result = TypeVar("Result")
# For items in order what each gives: a result, or the exception that is its own.
Compute = Callable[[Sequence[Item]], Iterator[Result | Exception]]
Gone = Callable[[], Awaitable[None]]

MAX_RETRY_AFTER_S = 60


class ClientGoneError(Exception):
    """The client closed the connection before its request was computed: there is nobody to answer."""


@dataclass(eq=False)
class _Waiting:
    compute: Compute
    item: Any
    future: Future[Any] = field(default_factory=Future)


class Worker:
    """Runs jobs one after another in a thread of its own; torch spreads each over the cores.

    ``capacity`` requests are admitted at a time, from before their body is read until their answer
    is made, so that neither bodies nor jobs pile up in memory. Of jobs that can be computed together,
    up to ``max_batch`` that wait are. All methods but the jobs themselves belong to the event loop.
    """

    def __init__(self, capacity: int, max_batch: int = 1) -> None:
        self.capacity = capacity
        self.max_batch = max_batch
        self.admitted = 0
        self._seconds = 0.1  # of a job, smoothed
        self._waiting: deque[_Waiting] = deque()
        self._lock = threading.Lock()  # of the deque
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="brainmtl-inference")

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[None]:
        """Hold one of the places for the duration of the block.

        Raises:
            ApiError: 503 with Retry-After, at once, when all places are taken.
        """
        if self.admitted >= self.capacity:
            seconds = min(max(math.ceil(self.admitted * self._seconds), 1), MAX_RETRY_AFTER_S)
            raise ApiError(
                503,
                "overloaded",
                f"{self.admitted} requests are being served or waiting. Try again in {seconds} s.",
                {"Retry-After": str(seconds)},
            )
        self.admitted += 1
        try:
            yield
        finally:
            self.admitted -= 1

    async def run(self, job: Callable[[], Result], gone: Gone | None = None) -> Result:
        """What ``job()`` returns or raises, called in the thread when its turn has come.

        Args:
            gone: returns when the client has left. A job that still waits is then dropped, one that
                runs is finished, since nothing can interrupt it.

        Raises:
            ClientGoneError: the job was dropped.
        """
        return await self.run_together(lambda _: iter([job()]), None, gone)

    async def run_together(
        self, compute: Compute[Item, Result], item: Item, gone: Gone | None = None
    ) -> Result:
        """As :meth:`run`, with what ``compute([item])`` gives for ``item``.

        When the turn of an item has come, those that wait behind it for the same ``compute`` are taken
        along, up to ``max_batch`` in all; nothing waits for others to come. Each is answered as soon as
        ``compute`` has yielded its outcome. If it raises, every item without an outcome is computed
        again alone, so that only those fail that cannot be computed.
        """
        waiting = _Waiting(compute, item)
        with self._lock:
            self._waiting.append(waiting)
        self._executor.submit(self._next)
        answer = asyncio.wrap_future(waiting.future)
        if gone is None:
            return await answer
        leaving = asyncio.ensure_future(gone())
        try:
            await asyncio.wait({answer, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() and waiting.future.cancel():
                raise ClientGoneError
            return await answer
        finally:
            leaving.cancel()

    def _next(self) -> None:
        """Called once per job that was handed over: finds nothing where another call took it along."""
        taken = self._take()
        if not taken:
            return
        start = time.perf_counter()
        rest = _compute(taken)
        if len(taken) > 1:
            for waiting in rest:
                _compute([waiting])
        elapsed = time.perf_counter() - start
        self._seconds = 0.8 * self._seconds + 0.2 * elapsed / len(taken)

    def _take(self) -> list[_Waiting]:
        """The job whose turn it is, and those that can be computed with it."""
        taken: list[_Waiting] = []
        with self._lock:
            kept: deque[_Waiting] = deque()
            while self._waiting and len(taken) < self.max_batch:
                waiting = self._waiting.popleft()
                if taken and waiting.compute is not taken[0].compute:
                    kept.append(waiting)
                elif waiting.future.set_running_or_notify_cancel():  # else its client has left
                    taken.append(waiting)
            self._waiting.extendleft(reversed(kept))
        return taken

    async def close(self) -> None:
        """Finish what runs and drop what waits."""
        with self._lock:
            dropped, self._waiting = self._waiting, deque()
        for waiting in dropped:
            waiting.future.cancel()
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)


def _compute(taken: Sequence[_Waiting]) -> list[_Waiting]:
    """Give each its outcome. Where computing fails, those without one are returned if there are several;
    one alone gets the error."""
    given = 0
    try:
        outcomes = taken[0].compute([waiting.item for waiting in taken])
        for waiting, outcome in zip(taken, outcomes, strict=True):
            given += 1
            if isinstance(outcome, Exception):
                waiting.future.set_exception(outcome)
            else:
                waiting.future.set_result(outcome)
    except BaseException as error:
        if len(taken) > 1:
            return list(taken[given:])
        if not given:
            taken[0].future.set_exception(error)
    return []
