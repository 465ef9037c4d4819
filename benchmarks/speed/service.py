"""The predictor as it is served: alone or in a batch, with heat map, first and tenth call."""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np

from benchmarks.speed.baselines import SIDE, build, default_name
from benchmarks.speed.environment import in_both_formats
from benchmarks.speed.timing import Row, Settings, compare, interleave, skipped_row
from brainmtl.config import PROJECT_ROOT
from brainmtl.data.preprocessing.preprocess import PREPROCESSING_VERSION
from brainmtl.inference.images import MAX_BATCH
from brainmtl.inference.model_folder import ModelFolder
from brainmtl.inference.network import Network
from brainmtl.inference.operating.operating_point import OperatingPoint
from brainmtl.inference.predictor import MultiTaskPredictor

# The first leaves every picture without mask (P just below 1 is the highest there is), the second none.
NO_MASK = {"seg_gate": 1 - 1e-9, "cls_threshold": 1 - 1e-9}
MASK = {"seg_gate": 0.0}


def rows(settings: Settings) -> list[Row]:
    """All rows of this module."""

    def measure(section: str, device: str, precision: str) -> list[Row]:
        return [
            *_network_rows(section, device, precision, settings.rounds),
            *_predictor_rows(section, device, precision, settings.fewer(2)),
        ]

    found = in_both_formats("service", settings.devices, measure)
    return found + _first_call_rows(1 if settings.quick else settings.fewer(6))


def pretrained_predictor(device: str = "cpu", precision: str = "32") -> MultiTaskPredictor:
    """The default model with the weights that come with it behind everything a picture goes through.

    Trained ones, since an untrained network draws noise, which takes long to outline and to compress.
    """
    from brainmtl.training.continuation.checkpoints import load_model
    from brainmtl.training.continuation.start import BUILT_IN

    config = {
        "name": default_name(),
        "version": "0",
        "stage": "none",
        "preprocessing_version": PREPROCESSING_VERSION,
        "synthetic_training": True,
        "training_sources": [],
    }
    model = load_model(BUILT_IN)[0].eval()
    folder = ModelFolder(Path(), config, model, "", OperatingPoint.default(), {}, None)
    return MultiTaskPredictor(folder, device, precision)


@cache
def png(seed: int) -> bytes:
    """A synthetic head with a tumour, 512x512 pixels, as a PNG file."""
    from brainmtl.data.phantom.atlas import load_atlas
    from brainmtl.data.phantom.photo import render_photo

    photo = render_photo(load_atlas(), np.random.default_rng(seed), tumour=True)
    stream = BytesIO()
    photo.convert("L").resize((512, 512)).save(stream, "PNG")
    return stream.getvalue()


def _network_rows(section: str, device: str, precision: str, rounds: int) -> list[Row]:
    network = Network(build(default_name()), device, precision)
    one = np.random.default_rng(0).standard_normal((1, 1, SIDE, SIDE), dtype=np.float32)
    many = np.repeat(one, MAX_BATCH, axis=0)
    seconds = interleave(
        {
            "classification": lambda: network.encode(one),
            "heat map": lambda: network.gradcam(network.encode(one), [0]),
            "single": lambda: network.decode(network.encode(one), [0]),
            "batch": lambda: network.decode(network.encode(many), range(MAX_BATCH)),
        },
        rounds,
        device,
    )
    return [
        *_batch_pair(section, "network with mask", seconds),
        *_gradcam_pair(section, "network", seconds, "limit 2"),
    ]


def _predictor_rows(section: str, device: str, precision: str, rounds: int) -> list[Row]:
    predictor = pretrained_predictor(device, precision)
    files = [png(seed) for seed in range(MAX_BATCH)]
    seconds = interleave(
        {
            "classification": lambda: predictor.predict_image(files[0], **NO_MASK),
            "heat map": lambda: predictor.predict_image(files[0], include_gradcam=True, **NO_MASK),
            "single": lambda: predictor.predict_image(files[0], **MASK),
            "batch": lambda: predictor.predict_batch(files, **MASK),
        },
        rounds,
        device,
    )
    return [
        *_batch_pair(section, "512x512 PNG to answer with mask", seconds),
        *_gradcam_pair(section, "512x512 PNG to answer", seconds, "whole answers"),
    ]


def _batch_pair(section: str, name: str, seconds: dict[str, list[float]]) -> list[Row]:
    each = [value / MAX_BATCH for value in seconds["batch"]]
    ratio, spread = compare(seconds["single"], each)
    against = "times the speed of the single image (must not be below 1)"
    alone = _ms(seconds["single"])
    return [
        Row(section, f"{name}, single image", alone, "ms"),
        Row(section, f"{name}, one of {MAX_BATCH}", _ms(each), "ms", ratio, spread, against),
    ]


def _gradcam_pair(section: str, name: str, seconds: dict[str, list[float]], note: str) -> list[Row]:
    ratio, spread = compare(seconds["heat map"], seconds["classification"])
    against = f"times the time of the classification alone ({note})"
    with_map = _ms(seconds["heat map"])
    return [
        Row(section, f"{name}, classification alone", _ms(seconds["classification"]), "ms"),
        Row(section, f"{name}, with heat map", with_map, "ms", ratio, spread, against),
    ]


def _first_call_rows(rounds: int) -> list[Row]:
    """First against tenth call, each in processes of their own: here, everything is warm already."""
    found = []
    for mode, name in (("bare", "without warm-up"), ("warm", "after the service's warm-up")):
        section = "service, first call in a process"
        if mode == "warm" and importlib.util.find_spec("fastapi") is None:
            found.append(skipped_row(section, name, "pip install 'brainmtl[serve]'"))
            continue
        runs = [_ten_calls(mode) for _ in range(rounds)]
        first, tenth = [run[0] for run in runs], [run[-1] for run in runs]
        ratio, spread = compare(first, tenth)
        row = Row(
            section, name, _ms(first), "ms", ratio, spread, "times the time of the tenth call"
        )
        found.append(row)
    return found


def _ten_calls(mode: str) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.speed.ten_calls", mode]
    done = subprocess.run(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def _ms(seconds: list[float]) -> float:
    return 1000 * statistics.median(seconds)
