"""Networks at one budget of arithmetic: all are trained for the same CPU time, then compared.

    python -m benchmarks.screen_networks data_dir=data/processed fold=0 seconds=260 model=unet_2m_fast

One run trains one network from scratch, both tasks at once, on the folds that ``fold`` leaves for
training, and prints one line of JSON for its validation and test folds together: per source Dice
per case (prepared grid), ROC-AUC and balanced accuracy at 0.5. The budget is CPU time of the
training process, so that runs beside each other compare; loaders are not counted. All other options
are those of ``conf/train.yaml`` (``model.norm=group``, ``augmentation=light``, ``loss.lambda_cls=1``).
Use OMP_NUM_THREADS=1 and one run per core.
"""

from __future__ import annotations

import json
import math
import sys
import time
from typing import Any

import torch
from hydra.errors import HydraException
from hydra.utils import instantiate
from torch.nn.utils import clip_grad_norm_

from benchmarks.command import one_line_errors
from benchmarks.speed.loading import data_module
from brainmtl.config import CONF_DIR, compose
from brainmtl.data.loading.datamodule import MultiTaskDataModule
from brainmtl.errors import ConfigError
from brainmtl.inference.device import autocast
from brainmtl.models.multitask import PARTS, MultiTaskModel
from brainmtl.suggestions import suggest
from brainmtl.training.ema import EmaUpdate, resolve_decay
from brainmtl.training.observers.scores import SourceScores

OWN = {"seconds": "260", "rate": "1e-3"}
LAYOUT = torch.channels_last
SHARES = 1000


@one_line_errors()
def main(arguments: list[str]) -> None:
    """Train and score the network that the arguments describe."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    given = {name: value for name, _, value in (a.partition("=") for a in arguments)}
    seconds, rate = (_positive(name, given.get(name, OWN[name])) for name in OWN)
    options = _compose([a for a in arguments if a.partition("=")[0] not in OWN])
    torch.set_num_threads(1)
    torch.manual_seed(options["seed"])
    data = data_module(options)
    model, done = train(options, data, seconds, rate)
    print(json.dumps({"arguments": arguments, **done, **score(model, data)}))


def _positive(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ConfigError(f"{name}={value} must be a number above 0")
    return number


def _compose(overrides: list[str]) -> dict[str, Any]:
    try:
        return compose("train", *overrides, "run_dir=.", "data.num_workers=1")
    except HydraException as error:
        lines = suggest(CONF_DIR, "train", overrides) or str(error).splitlines()[:1]
        raise ConfigError("; ".join(lines)) from error


def train(
    options: dict[str, Any], data: MultiTaskDataModule, seconds: float, rate: float
) -> tuple[MultiTaskModel, dict[str, int]]:
    """The averaged network after ``seconds`` of CPU time, and how many steps and images that was."""
    model = instantiate(options["model"]).to(memory_format=LAYOUT)
    average = instantiate(options["model"]).to(memory_format=LAYOUT)
    average.load_state_dict(model.state_dict())
    update = EmaUpdate(resolve_decay(options["ema_decay"], pretrained=False) or 1e-6)
    loss = instantiate(options["loss"])
    if loss.needs_class_weights:
        loss.set_class_weights(data.class_weights())
    optimizer = instantiate(options["optimizer"])(model, dict.fromkeys(PARTS, rate), PARTS)
    # The configured schedule, by share of the budget instead of by step.
    factor = instantiate(options["scheduler"])(optimizer, SHARES).lr_lambdas[0]
    step = images = epoch = 0
    started = time.process_time()
    model.train()
    while True:
        data.set_epoch(epoch)
        for batch in data.train_dataloader():
            progress = (time.process_time() - started) / seconds
            if progress >= 1:
                return average.eval(), {"steps": step, "images": images}
            for group in optimizer.param_groups:
                group["lr"] = rate * factor(int(progress * SHARES))
            with autocast("cpu", "bf16"):
                output = model(batch["images"].contiguous(memory_format=LAYOUT))
                total = loss(output, batch).total
            optimizer.zero_grad()
            total.backward()
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                update(list(average.parameters()), list(model.parameters()), step)
                for kept, new in zip(average.buffers(), model.buffers(), strict=True):
                    kept.copy_(new)
            step, images = step + 1, images + len(batch["images"])
        epoch += 1


@torch.inference_mode()
def score(model: MultiTaskModel, data: MultiTaskDataModule) -> dict[str, dict[str, float]]:
    """Per source the figures of :class:`SourceScores`, over validation and test samples together."""
    scores = SourceScores()
    for loader in (*data.val_dataloader(), *data.test_dataloader()):
        for batch in loader:
            with autocast("cpu", "bf16"):
                scores.update(model(batch["images"].contiguous(memory_format=LAYOUT)), batch)
    return scores.compute()


if __name__ == "__main__":
    main(sys.argv[1:])
