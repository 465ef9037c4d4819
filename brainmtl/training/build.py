"""What a stage trains, and what it trains with, made from the resolved options."""

from __future__ import annotations

import logging
from typing import Any

from hydra.utils import instantiate

from brainmtl.config import own_words
from brainmtl.data.loading.datamodule import MultiTaskDataModule
from brainmtl.data.manifest import Manifest, source_hashes
from brainmtl.data.preprocessing.preprocess import PREPROCESSING_VERSION
from brainmtl.errors import ConfigError
from brainmtl.models import create_multi_task_model
from brainmtl.models.multitask import MultiTaskModel
from brainmtl.training.adversary import SourceAdversary
from brainmtl.training.module import MultiTaskModule
from brainmtl.training.stages import StageConfig

log = logging.getLogger(__name__)
Options = dict[str, Any]


def make_datamodule(
    options: Options, stage: StageConfig, manifest: Manifest | None = None
) -> MultiTaskDataModule:
    """The datamodule of a stage, checked: every role that the stage needs has training samples.

    ``manifest``: of the data folder, where it was loaded already.
    """
    with own_words():
        make = instantiate(
            options["data"], **stage.loader, augmentation=_augmentation(options), _partial_=True
        )
    # Not through Hydra, which would copy every row.
    datamodule = make(manifest=manifest)
    datamodule.setup("fit")
    if not datamodule.val_names:
        raise ConfigError(
            f"{datamodule.data_dir} has no validation samples: prepare with split.val > 0"
        )
    return datamodule


def make_module(
    options: Options,
    stage: StageConfig,
    datamodule: MultiTaskDataModule,
    start: dict[str, Any] | None = None,
) -> MultiTaskModule:
    """The LightningModule of a stage, with its class weights resolved from the manifest.

    ``start`` describes the checkpoint that the weights come from: what trained them counts too.
    """
    model_options = {name: value for name, value in options["model"].items() if name != "_target_"}
    with own_words():
        loss, balance = instantiate(options["loss"]), instantiate(options["balance"])
    if loss.needs_class_weights:
        loss.set_class_weights(datamodule.class_weights())
    start = start or {}
    rows = datamodule.manifest
    sources = sorted({*datamodule.train_dataset.source_names, *start.get("sources", [])})
    kinds = {int(kind) for kind in rows[rows["source"].isin(sources)]["synthetic"]}
    kinds |= {1} if start.get("synthetic_training") else set()
    if kinds == {0, 1}:
        log.warning("this run mixes real and synthetic data: %s", ", ".join(sources))
    metadata = {
        "config": options | {"model": model_options, "stage": stage.plain()},
        "preprocessing_version": PREPROCESSING_VERSION,
        "manifest_sha256": datamodule.manifest_sha256,
        "source_sha256": source_hashes(rows[rows["source"].isin(sources)]),
        "stage": stage.name,
        "trainings": stage.trainings,
        "sources": sources,  # of this stage and of those that its weights come from
        "trained_parts": sorted({*stage.train, *start.get("trained_parts", [])}),
        "synthetic_training": 1 in kinds,
        # What made the built-in weights, if it began with them.
        "pretrained": start.get("pretrained"),
    }
    model = create_multi_task_model(**model_options)
    return MultiTaskModule(
        model,
        loss,
        stage,
        instantiate(options["optimizer"]),
        instantiate(options["scheduler"]),
        seg_sources=datamodule.seg_sources,
        cls_sources=datamodule.cls_sources,
        metadata=metadata,
        balance=balance,
        adversary=_adversary(options, stage, model, datamodule),
        combined_weights=tuple(options["combined_weights"]),
        channels_last=options["channels_last"],
        seed=options["seed"],
    )


def _adversary(
    options: Options, stage: StageConfig, model: MultiTaskModel, datamodule: MultiTaskDataModule
) -> SourceAdversary | None:
    """Of the stages that train the encoder for both tasks; a frozen one cannot listen to it.

    None of a mean either: the classifiers of its members began with weights of their own.
    """
    trained = len(stage.tasks) > 1 and "encoder" in stage.train and not stage.mean_of
    if not options["adversary"] or not trained:
        return None
    with own_words():
        return instantiate(
            options["adversary"],
            in_features=model.encoder.feature_channels[-1],
            sources=datamodule.train_dataset.source_names,
        )


def _augmentation(options: Options) -> Any:
    return instantiate(options["augmentation"]) if options["augmentation"] else None
