"""``python -m brainmtl.predict input=FILE|FOLDER out_dir=DIR [model_dir=DIR]``: answers for your own files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from brainmtl.config import entry, plain
from brainmtl.errors import ConfigError, DataError, check_count
from brainmtl.words import quantity


def predict(options: dict[str, Any]) -> list[dict[str, Any]]:
    """Predict as ``conf/predict.yaml`` says, print a summary, return the lines of predictions.csv.

    Raises:
        DataError: no input, or none that could be read; predictions.csv lists why.
        ConfigError: a gate above the threshold, or another option that cannot work.
    """
    from brainmtl.files import check_out_dir, write_json
    from brainmtl.inference.folder import find_items, predict_items
    from brainmtl.inference.images import thresholds
    from brainmtl.inference.model_folder import chosen_model_folder
    from brainmtl.inference.predictor import MultiTaskPredictor
    from brainmtl.inference.results import DISCLAIMER

    out_dir = Path(options["out_dir"])
    check_out_dir(out_dir, "run.json", "thresholds")
    check_count("batch_size", options["batch_size"])
    items, ignored = find_items(Path(options["input"]), leave_out=out_dir)
    folder = options["model_dir"] or chosen_model_folder()
    try:
        predictor = MultiTaskPredictor.from_folder(
            folder,
            device=options["device"],
            precision=str(options["number_format"]),  # Hydra reads 32 as a number
            runtime=options["runtime"],
        )
    except ConfigError as error:
        raise error.renamed(precision="number_format") from error
    chosen = {name: options[name] for name in ("seg_gate", "cls_threshold")}
    point = predictor.point(**chosen)
    run = {
        "model": predictor.info.to_json(),
        "model_dir": str(predictor.info.folder),
        "input": str(options["input"]),
        "thresholds": thresholds(point),
        "disclaimer": DISCLAIMER,
    }
    write_json(out_dir / "run.json", run)
    lines = predict_items(
        predictor,
        items,
        out_dir,
        **{name: options[name] for name in ("gradcam", "overlays", "batch_size", "progress")},
        **chosen,
    )
    _summarise(lines, ignored, out_dir)
    print(DISCLAIMER)
    if all(line["status"] == "failed" for line in lines):
        raise DataError(
            f"none of {len(lines)} inputs could be read, the first because: {lines[0]['reason']}"
        )
    return lines


def _summarise(lines: Sequence[dict[str, Any]], ignored: int, out_dir: Path) -> None:
    status = Counter(line["status"] for line in lines)
    labels = Counter(line["label"] for line in lines if line["status"] == "ok")
    answered = ", ".join(f"{count} {label}" for label, count in sorted(labels.items()))
    print(f"{quantity(len(lines), 'inputs')}: {status['ok']} answered ({answered or 'none'})")
    for name in ("abstained", "failed"):
        reasons = Counter(line["reason_code"] for line in lines if line["status"] == name)
        if reasons:
            listed = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
            print(f"  {status[name]} {name}: {listed}")
    if ignored:
        print(f"  left out: {quantity(ignored, 'files')} of other kinds")
    print(f"results: {out_dir / 'predictions.csv'}")


@entry("predict")
def main(cfg: DictConfig) -> None:
    """Command-line entry."""
    predict(plain(cfg))


if __name__ == "__main__":
    main()
