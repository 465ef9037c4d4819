"""Networks at one budget of arithmetic: all are trained for the same CPU time, then compared.

    python -m benchmarks.screen_networks data_dir=data/processed fold=0 seconds=260 model=unet_2m_fast

One run trains one network from scratch, both tasks at once, on the folds that ``fold`` leaves for
training, and prints one line of JSON for its validation and test folds together: per source Dice
per patient (prepared grid), ROC-AUC and balanced accuracy at 0.5. The budget is CPU time of the
training process, so that runs beside each other compare; loaders are not counted. All other options
are those of ``conf/train.yaml`` (``model.norm=group``, ``augmentation=light``, ``loss.lambda_cls=1``).
Use OMP_NUM_THREADS=1 and one run per core.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections import defaultdict
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch.nn.utils import clip_grad_norm_

from brainmtl.config import CONF_DIR, plain
from brainmtl.data.datamodule import MultiTaskDataModule
from brainmtl.models.multitask import PARTS, MultiTaskModel, MultiTaskOutput
from brainmtl.training.ema import EmaUpdate

OWN = {"seconds": "260", "rate": "1e-3"}


def main(arguments: list[str]) -> None:
    """Train and score the network that the arguments describe."""
    own = OWN | {k: v for k, v in (a.split("=", 1) for a in arguments) if k in OWN}
    overrides = [a for a in arguments if a.split("=", 1)[0] not in OWN]
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        options = plain(compose("train", [*overrides, "run_dir=.", "data.num_workers=1"]))
    torch.set_num_threads(1)
    torch.manual_seed(options["seed"])
    data = instantiate(
        options["data"], **options["loader"], augmentation=instantiate(options["augmentation"])
    )
    data.setup()
    model, done = train(options, data, float(own["seconds"]), float(own["rate"]))
    print(json.dumps({"arguments": arguments, **done, **score(model, data)}))


def train(
    options: dict[str, Any], data: MultiTaskDataModule, seconds: float, rate: float
) -> tuple[MultiTaskModel, dict[str, int]]:
    """The averaged network after ``seconds`` of CPU time, and how many steps and images that was."""
    model = instantiate(options["model"]).to(memory_format=torch.channels_last)
    average = instantiate(options["model"]).to(memory_format=torch.channels_last)
    average.load_state_dict(model.state_dict())
    update = EmaUpdate(options["ema_decay"] or 1e-6)
    loss = instantiate(options["loss"])
    if loss.needs_class_weights:
        loss.set_class_weights(data.class_weights())
    optimizer = instantiate(options["optimizer"])(model, dict.fromkeys(PARTS, rate), PARTS)
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
                group["lr"] = rate * _factor(progress)
            output = forward(model, batch["images"])
            optimizer.zero_grad()
            loss(output, batch).total.backward()
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                update(list(average.parameters()), list(model.parameters()), step)
                for kept, new in zip(average.buffers(), model.buffers(), strict=True):
                    kept.copy_(new)
            step, images = step + 1, images + len(batch["images"])
        epoch += 1


def forward(model: MultiTaskModel, images: torch.Tensor) -> MultiTaskOutput:
    """Float32 outputs of a bfloat16 pass."""
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(images)
    return MultiTaskOutput(*(value.float() for value in output))


def _factor(progress: float) -> float:
    return min(1.0, progress / 0.05 + 0.01) * (
        0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
    )


@torch.inference_mode()
def score(model: MultiTaskModel, data: MultiTaskDataModule) -> dict[str, dict[str, float]]:
    """Per source: Dice per patient where there are masks, ROC-AUC and balanced accuracy."""
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    groups = dict(zip(data.manifest["image_id"], data.manifest["group"], strict=True))
    sums: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))
    calls: dict[str, list[tuple[int, float]]] = defaultdict(list)
    loaders = [*data.val_dataloader(), *data.test_dataloader()]
    for source, loader in zip([*data.val_names, *data.test_names], loaders, strict=True):
        for batch in loader:
            output = forward(model, batch["images"])
            p = output.cls.softmax(dim=1)[:, 1].tolist()
            labels = batch["cls_labels"].tolist()
            calls[source] += [(y, q) for y, q in zip(labels, p, strict=True) if y >= 0]
            if batch["masks"] is None:
                continue
            for name, logits, mask in zip(
                batch["image_ids"], output.seg[:, 0], batch["masks"], strict=True
            ):
                own = sums[source][groups[name]]
                own[0] += 2.0 * float(((logits > 0) & (mask == 1)).sum())
                own[1] += float((logits > 0).sum() + (mask == 1).sum())
    found: dict[str, dict[str, float]] = {}
    for source, pairs in calls.items():
        y, q = zip(*pairs, strict=True)
        found[source] = {
            "n": len(y),
            "roc_auc": round(float(roc_auc_score(y, q)), 3),
            "balanced_accuracy": round(float(balanced_accuracy_score(y, [v >= 0.5 for v in q])), 3),
        }
        if sums[source]:
            dice = [own[0] / own[1] for own in sums[source].values() if own[1] > 0]
            found[source] |= {
                "dice_per_patient": round(sum(dice) / len(dice), 3),
                "patients": len(dice),
            }
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
