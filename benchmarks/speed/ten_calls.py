"""Seconds of the first ten calls of a predictor in this process, as JSON: bare, or warm."""

from __future__ import annotations

import json
import sys
import time

from benchmarks.serving_load import picture
from benchmarks.speed.service import MASK, pretrained_predictor


def main(mode: str) -> None:
    """``warm``: after what the service does before it says that it is ready."""
    predictor = pretrained_predictor()
    if mode == "warm":
        from brainmtl.serve.warmup import warm_up

        warm_up(predictor)
    seconds = []
    for seed in range(10):
        # drawn: making a synthetic head would import what the first call is to import
        file = picture(seed)["file"][1]
        start = time.perf_counter()
        predictor.predict_image(file, include_gradcam=True, **MASK)
        seconds.append(time.perf_counter() - start)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(sys.argv[1])
