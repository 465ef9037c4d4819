"""``python -m brainmtl.prepare source=... raw_dir=... out_dir=...``: raw data in, prepared folder out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from brainmtl.config import entry, plain
from brainmtl.errors import ConfigError, check_count
from brainmtl.words import quantity

if TYPE_CHECKING:
    from distributed import Client

    from brainmtl.data.preparation.process import ProcessReport
    from brainmtl.data.records import Source

PHANTOM_PARTS = {"brats": "subjects", "kaggle": "photos"}  # and the option that says how many
EXECUTORS = ("local", "dask")


def prepare(options: dict[str, Any]) -> list[ProcessReport]:
    """Prepare one source (``source=phantom``: make the raw data first, then prepare both parts)."""
    from brainmtl.data.preparation.assembly import SplitOptions
    from brainmtl.data.preparation.cases import CaseOptions
    from brainmtl.data.preparation.process import process_dataset
    from brainmtl.data.selection import name_list

    if not isinstance(options["split"], dict):
        raise ConfigError(
            f"split={options['split']} is for evaluate.py. Choose split=random (the default), "
            "all_train, all_val or all_test"
        )
    split = dict(options["split"])
    for key in ("train_groups", "test_groups"):
        split[key] = tuple(name_list(split[key]))
    reports = []
    with _client(options["executor"], options["address"], options["workers"]) as client:
        for source, raw_dir in _sources(options):
            report = process_dataset(
                source,
                raw_dir,
                options["out_dir"],
                case_options=CaseOptions(
                    options["min_tumour_pixels"], tuple(name_list(options["modalities"]))
                ),
                split=SplitOptions(**split),
                workers=options["workers"],
                client=client,
                strict=options["strict"],
            )
            print_report(report, Path(options["out_dir"]))
            reports.append(report)
    return reports


@contextmanager
def _client(executor: str, address: str | None, workers: int | None) -> Iterator[Client | None]:
    """The cluster that prepares; None for processes of this machine through joblib alone."""
    if executor not in EXECUTORS:
        raise ConfigError(f"executor={executor} is unknown: choose {' or '.join(EXECUTORS)}")
    if executor == "local":
        if address is not None:
            raise ConfigError(f"address={address} is for executor=dask: add that")
        yield None
        return
    if address is not None and workers is not None:
        raise ConfigError(
            f"workers={workers} cannot be had of address={address}: a running cluster has the "
            "workers that were started for it. Leave workers out"
        )
    from brainmtl.data.preparation.cluster import open_client

    with open_client(address, workers) as client:
        yield client


def _sources(options: dict[str, Any]) -> list[tuple[Source, Path]]:
    from brainmtl.data.sources import make_source

    raw_dir = Path(options["raw_dir"])
    if options["source"] != "phantom":
        keys = ("modalities", "positive", "negative", "table", "name")
        return [(make_source(options["source"], **{key: options[key] for key in keys}), raw_dir)]
    if options["name"] is not None:
        raise ConfigError(
            "name=... cannot rename the phantom: its sources are phantom_brats and phantom_kaggle"
        )
    for name in ("subjects", "photos", "seed"):
        check_count(f"phantom.{name}", options["phantom"][name], 0)
    if options["phantom"]["photos"] == 1:
        raise ConfigError("phantom.photos=1 has a tumour and none without: give 0, or 2 or more")
    from brainmtl.data.phantom import write_phantom

    write_phantom(raw_dir, workers=options["workers"], **options["phantom"])
    return [
        (make_source(part, name=f"phantom_{part}", synthetic=True), raw_dir / part)
        for part, count in PHANTOM_PARTS.items()
        if options["phantom"][count]
    ]


def print_report(report: ProcessReport, out_dir: Path) -> None:
    """What was done, and every unusable file with its reason."""
    from brainmtl.data.preparation.process import list_problems

    print(
        f"{report.source}: {quantity(report.samples, 'samples')} from "
        f"{quantity(report.prepared + report.reused, 'cases')} "
        f"({report.prepared} prepared, {report.reused} reused), "
        f"{quantity(report.slices_left_out, 'slices')} without brain left out"
    )
    if report.removed:
        print(f"removed: {quantity(report.removed, 'cases')} that the raw folder no longer holds")
    if report.problems:
        print(
            f"{quantity(len(report.problems), 'files')} not used:\n{list_problems(report.problems)}"
        )
    print(f"manifest: {out_dir / 'manifest.csv'}")


@entry("prepare")
def main(cfg: DictConfig) -> None:
    """Command-line entry."""
    prepare(plain(cfg))


if __name__ == "__main__":
    main()
