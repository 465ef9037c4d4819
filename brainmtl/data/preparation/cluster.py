"""Preparation on a Dask cluster: its client, what every worker must see, and joblib's way to it.

The folders are shared: workers read the raw files and write the prepared ones themselves, under the
same paths as this process. Only references to cases and their ledger entries travel.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

from brainmtl import __version__
from brainmtl.data.preprocessing.preprocess import PREPROCESSING_VERSION
from brainmtl.data.processes import process_count
from brainmtl.data.records import CaseRef
from brainmtl.errors import ConfigError

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)
CONNECT_SECONDS = 5
LOCAL_PORT = "127.0.0.1:0"  # any that is free, and not seen from other machines
WORKER_SECONDS = 15  # for the first worker of a cluster that was started a moment ago
WATCH_SECONDS = 10
CODE = f"{__version__}, preprocessing version {PREPROCESSING_VERSION}"
Outcomes = Callable[[Callable[..., Any], Iterable[tuple[Any, ...]]], Iterator[Any]]


@contextmanager
def open_client(address: str | None, workers: int | None) -> Iterator[Client]:
    """A client of the scheduler at ``address``; None: of a cluster on this machine, closed at the end.

    Args:
        workers: processes of the cluster on this machine, by default one per core.

    Raises:
        ConfigError: the extra is not installed, nobody answers at ``address``, or has no worker.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ConfigError(
            "executor=dask needs an extra that is not installed: pip install 'brainmtl[cluster]'"
        ) from error
    # Every connection is worth a line to it; what it warns of stays.
    logging.getLogger("distributed").setLevel(logging.WARNING)
    if address is not None:
        with _connect(address) as client:
            yield client
        return
    with (
        # No case waits at a busy worker: the death of one then speaks of the case that it had.
        dask.config.set({"distributed.scheduler.worker-saturation": 1.0}),
        LocalCluster(
            n_workers=process_count(workers),
            threads_per_worker=1,
            dashboard_address=LOCAL_PORT,
        ) as cluster,
        Client(cluster) as client,
    ):
        if find_spec("bokeh"):
            log.info("dashboard of the cluster: %s", client.dashboard_link)
        yield client


def _connect(address: str) -> Client:
    from distributed import Client

    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:  # refused, no answer in time; no such protocol
        raise ConfigError(
            f"address={address}: no Dask scheduler answers there. Start one with `dask scheduler` and "
            "give the address that it prints (tcp://host:8786), or address=null for a cluster on "
            "this machine"
        ) from error
    try:
        client.wait_for_workers(1, timeout=WORKER_SECONDS)
    except TimeoutError as error:
        client.close()
        raise ConfigError(
            f"address={address}: the scheduler has no worker. Start some with `dask worker {address}`"
        ) from error
    return client


@contextmanager
def on_cluster(client: Client, raw_dir: Path, out_dir: Path) -> Iterator[Outcomes]:
    """Yield ``run(work, jobs)``: the outcomes of ``work(*job)`` on the workers, as they come.

    Both folders must be absolute. A job whose worker dies is given to another one, up to the
    scheduler's ``distributed.scheduler.allowed-failures`` times.

    Raises:
        ConfigError: a worker that does not see the folders or runs other code; a case that no
            worker survives; the scheduler is lost.
    """
    from joblib import Parallel, delayed, parallel_config

    # Exists only while this run goes on, and so in no other machine's folder of the same name.
    with NamedTemporaryFile(prefix=".tmp-", dir=out_dir) as mark:
        terms = (CODE, raw_dir, Path(mark.name))
        _check_workers(client, terms)
        with _watched(client), parallel_config(backend=_backend(client)):
            pool = Parallel(pre_dispatch="all", return_as="generator_unordered")
            yield lambda work, jobs: pool(delayed(_take)(terms, work, *job) for job in jobs)


def complaint(code: str, raw_dir: Path, mark: Path) -> str | None:
    """Why this process can take no part in a run; None where it can."""
    if code != CODE:
        return f"runs brainmtl {CODE}, and not {code}: install the same there"
    if not raw_dir.is_dir():
        return f"does not see raw_dir={raw_dir}: all machines need it under the same path"
    if not mark.is_file():
        return (
            f"does not see out_dir={mark.parent}: all machines must share it, under the same path"
        )
    return None


def _check_workers(client: Client, terms: tuple[str, Path, Path]) -> None:
    answers = client.run(complaint, *terms, on_error="return")
    found = [
        f"  {worker}: {f'cannot run brainmtl ({answer})' if isinstance(answer, Exception) else answer}"
        for worker, answer in answers.items()
        if answer is not None
    ]
    if found:
        raise ConfigError(
            f"{len(found)} of {len(answers)} workers cannot prepare:\n" + "\n".join(found)
        )


def _take(terms: tuple[str, Path, Path], work: Callable[..., Any], *job: Any) -> Any:
    # Again: workers may have come since. What they do not see would be taken for unusable files.
    if reason := complaint(*terms):
        raise ConfigError(f"the worker on {socket.gethostname()} {reason}")
    return work(*job)


def _backend(client: Client) -> Any:
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):
        """joblib's own waits for ever for a task that Dask has given up: it tells no callback."""

        def effective_n_jobs(self, n_jobs: int) -> int:
            # For one worker joblib would do all in this process, also when more are on their way.
            return max(2, super().effective_n_jobs(n_jobs))

        def submit(self, func: Any, callback: Callable[[Any], None]) -> Any:
            def tell(future: Any) -> None:
                if error := future.exception():
                    callback(_explained(error, func.items))

            found = super().submit(func, callback)
            found.add_done_callback(tell)
            return found

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, BaseException):
                raise _explained(out, [])
            return super().retrieve_result_callback(out)

    return Backend(client=client)


def _explained(error: BaseException, calls: Iterable[tuple[Any, ...]]) -> BaseException:
    from distributed import CancelledError, KilledWorker

    kept = "What is done is kept: the same command goes on"
    if isinstance(error, KilledWorker):
        cases = [a.case_id for _, args, _ in calls for a in args if isinstance(a, CaseRef)]
        return ConfigError(
            f"{error.allowed_failures + 1} workers died one after another while case "
            f"{', '.join(cases)} was with them, the last one {error.last_worker.address}: out of "
            f"memory, most likely. Give each worker more (fewer workers per machine, --memory-limit). {kept}"
        )
    if isinstance(error, CancelledError):
        return ConfigError(f"the Dask scheduler is lost: start it and its workers again. {kept}")
    return error


@contextmanager
def _watched(client: Client) -> Iterator[None]:
    """A word when no worker is left: Dask waits for new ones, which a batch system may well start."""
    ended = threading.Event()

    def watch() -> None:
        empty = False
        while not ended.wait(WATCH_SECONDS):
            try:
                before, empty = empty, not client.ncores()
            except OSError:  # the scheduler is lost, which the jobs say
                return
            if empty and not before:
                log.warning("the cluster has lost all its workers: waiting for new ones")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(CONNECT_SECONDS)  # it may be asking a scheduler that is gone
