"""``process_dataset``: every source through one pipeline into a prepared folder.

Two phases. Cases are prepared in parallel, each leaving a ledger entry; then the splits are drawn
over all of them, the samples move into their split's folder and the manifest is written. Both can be
interrupted and repeated: what is done is not done again, and a file has its final name only when whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from brainmtl.data.preparation.assembly import SplitOptions, assemble_source
from brainmtl.data.preparation.cases import CaseOptions, prepare_case
from brainmtl.data.preparation.housekeeping import remove_stale
from brainmtl.data.processes import process_count
from brainmtl.data.records import CaseRef, Problem, Source
from brainmtl.errors import DataError
from brainmtl.words import quantity

if TYPE_CHECKING:
    from distributed import Client

Job = tuple[Source, CaseRef, Path, CaseOptions]


@dataclass
class ProcessReport:
    """What one call of :func:`process_dataset` did."""

    source: str
    prepared: int = 0
    reused: int = 0
    samples: int = 0
    slices_left_out: int = 0
    removed: int = 0
    problems: list[Problem] = field(default_factory=list)


def process_dataset(
    source: Source,
    raw_dir: str | Path,
    out_dir: str | Path,
    *,
    case_options: CaseOptions | None = None,
    split: SplitOptions | None = None,
    workers: int | None = None,
    client: Client | None = None,
    strict: bool = False,
    progress: bool = True,
) -> ProcessReport:
    """Prepare all cases of ``source`` below ``raw_dir`` into ``out_dir/<source.name>``.

    Args:
        source: an adapter, see :func:`brainmtl.data.sources.make_source`.
        workers: processes, by default one per core.
        client: of a Dask cluster whose workers prepare instead; they must see both folders.
        strict: fail when any file is unusable (otherwise only when none is usable).

    Raises:
        DataError: no usable case, or with ``strict`` any unusable one; each is listed.
        ConfigError: as process_count; see :func:`brainmtl.data.preparation.cluster.on_cluster`.
    """
    processes = process_count(workers)
    if not Path(raw_dir).is_dir():
        raise DataError(f"raw_dir={raw_dir} is no folder: give the folder that holds the raw files")
    # Absolute: a worker on another machine has another working directory.
    raw_dir, out_dir = Path(raw_dir).absolute(), Path(out_dir).absolute()
    refs, problems = source.discover(raw_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    report = ProcessReport(source.name, problems=list(problems))
    # Two commands on one folder would overwrite each other's manifest.
    with _locked(out_dir):
        options = case_options or CaseOptions()
        jobs = [(source, ref, out_dir / source.name, options) for ref in refs]
        with _spread(client, processes, raw_dir, out_dir) as run:
            outcomes = run(_prepare_or_explain, jobs)
            ledgers = _collect(_track(outcomes, len(jobs), source.name, progress), report)
        if not ledgers:
            raise DataError(
                f"nothing below {raw_dir} was usable as source {source.name}:\n{list_problems(report.problems)}"
            )
        if strict and report.problems:
            raise DataError(
                f"strict=true and {quantity(len(report.problems), 'files')} below {raw_dir} cannot be used; repair or remove what is named:\n"
                f"{list_problems(report.problems)}"
            )
        report.removed = remove_stale(
            out_dir / source.name, {ledger["case_id"] for ledger in ledgers}
        )
        frame = assemble_source(
            source.name, ledgers, out_dir, split or SplitOptions(), report.problems
        )
    report.samples = len(frame)
    report.slices_left_out = sum(ledger["slices_left_out"] for ledger in ledgers)
    return report


@contextmanager
def _locked(out_dir: Path) -> Iterator[None]:
    lock = FileLock(out_dir / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"another preparation is at work in {out_dir}: waiting for it to end")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def list_problems(problems: Sequence[Problem]) -> str:
    """One line per unusable file."""
    return "\n".join(f"  {problem.path}: {problem.reason}" for problem in problems)


@contextmanager
def _spread(
    client: Client | None, processes: int, raw_dir: Path, out_dir: Path
) -> Iterator[Callable[[Callable[..., Any], Sequence[Job]], Iterator[Any]]]:
    """``run(work, jobs)``: the outcomes of ``work(*job)`` as they come, from here or from a cluster."""
    if client is not None:
        from brainmtl.data.preparation.cluster import on_cluster

        with on_cluster(client, raw_dir, out_dir) as run:
            yield run
        return
    from joblib import Parallel, delayed

    yield lambda work, jobs: Parallel(
        n_jobs=min(processes, max(1, len(jobs))), return_as="generator_unordered"
    )(delayed(work)(*job) for job in jobs)


def _collect(outcomes: Iterable[Any], report: ProcessReport) -> list[dict[str, Any]]:
    """Ledger entries in the order of their cases; counts and problems go into ``report``."""
    ledgers = []
    for outcome in outcomes:
        if isinstance(outcome, Problem):
            report.problems.append(outcome)
            continue
        ledgers.append(outcome)
        report.reused += outcome["reused"]
        report.prepared += not outcome["reused"]
    return sorted(ledgers, key=lambda ledger: ledger["case_id"])


def _prepare_or_explain(
    source: Source, ref: CaseRef, source_dir: Path, options: CaseOptions
) -> dict[str, Any] | Problem:
    try:
        return prepare_case(source, ref, source_dir, options)
    except DataError as error:
        return Problem(str(ref.files[0]), str(error).removeprefix(f"{ref.files[0]}: "))


def _track(results: Iterable[Any], total: int, name: str, progress: bool) -> Iterable[Any]:
    from rich.progress import track

    return track(results, total=total, description=f"preparing {name}", disable=not progress)
