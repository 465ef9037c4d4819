"""One thread that computes, a bounded number of requests that wait for it, and no event loop blocked."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from brainmtl.serve.errors import ApiError

Result = TypeVar("Result")

MAX_RETRY_AFTER_S = 60


class ClientGoneError(Exception):
    """The client closed the connection before its request was computed: there is nobody to answer."""


class Worker:
    """Runs jobs one after another in a thread of its own; torch spreads each over the cores.

    ``capacity`` requests are admitted at a time, from before their body is read until their answer
    is made, so that neither bodies nor jobs pile up in memory. All methods but the jobs themselves
    belong to the event loop.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.admitted = 0
        self._seconds = 0.1  # of a job, smoothed
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

    async def run(
        self, job: Callable[[], Result], gone: Callable[[], Awaitable[None]] | None = None
    ) -> Result:
        """What ``job()`` returns or raises, called in the thread when its turn has come.

        Args:
            gone: returns when the client has left. A job that still waits is then dropped, one that
                runs is finished, since nothing can interrupt it.

        Raises:
            ClientGoneError: the job was dropped.
        """
        future = self._executor.submit(self._measured, job)
        answer = asyncio.wrap_future(future)
        if gone is None:
            return await answer
        leaving = asyncio.ensure_future(gone())
        try:
            await asyncio.wait({answer, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() and future.cancel():
                raise ClientGoneError
            return await answer
        finally:
            leaving.cancel()

    def _measured(self, job: Callable[[], Result]) -> Result:
        start = time.perf_counter()
        try:
            return job()
        finally:
            self._seconds = 0.8 * self._seconds + 0.2 * (time.perf_counter() - start)

    async def close(self) -> None:
        """Finish what runs and drop what waits."""
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)
