"""Two pictures of where time goes: a training step and a request, with a sentence on what bounds each.

    python -m benchmarks.profiling [--out outputs/profile] [--trace]

benchmarks/README.md says what they show.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks.command import one_line_errors
from benchmarks.speed.baselines import default_name
from benchmarks.speed.environment import bf16_missing, describe
from benchmarks.speed.profile_pictures import draw_request, draw_step
from benchmarks.speed.service import MASK, png, pretrained_predictor
from benchmarks.speed.spans import NETWORK, REST, median_stages, record
from benchmarks.speed.step_profile import profile_step, sentence
from benchmarks.speed.timing import Settings
from brainmtl.config import PROJECT_ROOT
from brainmtl.files import atomic_path
from brainmtl.inference.predictor import MultiTaskPredictor

REQUEST_TRACE = "request_trace.json"


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, draw, and print a sentence per picture."""
    options = _parse(arguments)
    warnings.filterwarnings("ignore")  # of the libraries, into the middle of the output
    settings = Settings.asked(options, ("cpu",))
    options.out.mkdir(parents=True, exist_ok=True)
    print("\n".join(f"- {line}" for line in describe(settings.devices)), flush=True)
    for show in (_step, _request):
        path, text = show(settings, options.out, options.trace)
        print(f"\n{text}\n{path}", flush=True)


def _step(settings: Settings, out: Path, trace: bool) -> tuple[Path, str]:
    formats = {"float32": "32"} | ({} if bf16_missing("cpu") else {"bf16": "bf16"})
    profiles = [
        profile_step(name, precision, settings, out / f"step_{name}_trace.json" if trace else None)
        for name, precision in formats.items()
    ]
    text = "A training step is bound " + "; ".join(map(sentence, profiles)) + "."
    path = out / "training_step.png"
    title = (
        f"A training step of {default_name()}: {settings.batch} images of "
        f"{settings.side}x{settings.side}, threads: {torch.get_num_threads()}"
    )
    draw_step(profiles, text, title, path)
    return path, text


def _request(settings: Settings, out: Path, trace: bool) -> tuple[Path, str]:
    predictor, file = pretrained_predictor(), png(0)
    with tempfile.TemporaryDirectory() as folder:
        request = partial(_answer(predictor, Path(folder)), file, include_gradcam=True, **MASK)
        recordings = record(request, settings.fewer(1))
        if trace:
            with torch.profiler.profile() as profiler:
                record(request, 1)
            with atomic_path(out / REQUEST_TRACE) as temporary:
                profiler.export_chrome_trace(str(temporary))
    text = request_sentence(median_stages(recordings))
    path = out / "request.png"
    title = (
        f"A request to {default_name()} (float32, threads: {torch.get_num_threads()}):\n"
        "512x512 PNG to answer with mask and heat map"
    )
    draw_request(recordings, text, title, path)
    return path, text


def _answer(predictor: MultiTaskPredictor, folder: Path) -> Callable[..., object]:
    """The service's code from file to JSON; without the service, what the predictor says."""
    if importlib.util.find_spec("fastapi") is not None:
        from benchmarks.speed.serving import Answers

        return Answers(predictor, folder).one
    return lambda file, **options: predictor.predict_image(file, **options).to_json(True)


def request_sentence(stages: Mapping[str, float]) -> str:
    """What bounds a request of these median seconds per stage."""
    whole = sum(stages.values())
    network = sum(stages[name] for name in NETWORK)
    dearest = sorted((name for name in stages if name != REST), key=stages.get, reverse=True)[:3]
    shares = ", ".join(f"{name} {stages[name] / whole:.0%}" for name in dearest)
    bound = "the network" if network >= whole / 2 else "what surrounds the network"
    return (
        f"A request ({1000 * whole:.1f} ms) is bound by {bound}: encoder, decoder and heat map take "
        f"{network / whole:.0%}, all else {1000 * (whole - network):.1f} ms; the dearest stages are "
        f"{shares}."
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profiling", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=PROJECT_ROOT / "outputs" / "profile",
        help="folder (%(default)s)",
    )
    parser.add_argument("--rounds", type=int, default=30, help="readings per call (%(default)s)")
    parser.add_argument(
        "--trace", action="store_true", help="also traces for chrome://tracing or ui.perfetto.dev"
    )
    parser.add_argument("--quick", action="store_true", help="tiny: checks that everything runs")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
