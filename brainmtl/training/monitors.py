"""Whether a stage's monitor can be had from the validation split, asked before anything trains."""

from __future__ import annotations

from brainmtl.data.datamodule import MultiTaskDataModule
from brainmtl.errors import ConfigError
from brainmtl.training.stages import StageConfig


def check_monitor(stage: StageConfig, datamodule: MultiTaskDataModule) -> None:
    """Refuse a stage whose monitor the validation split cannot give, before hours of training.

    Raises:
        ConfigError: no mask with tumour in the segmentation sources, or no source of the classification
            role with both labels.
    """
    seg, cls = (
        [datamodule.val_datasets[name] for name in names if name in datamodule.val_datasets]
        for names in (datamodule.seg_sources, datamodule.cls_sources)
    )
    masked = any((d.has_mask & (d.labels != 0)).any() for d in seg)
    labelled = any({0, 1} <= set(d.labels.tolist()) for d in cls)
    masks = [] if masked else ["a mask with tumour in a segmentation source"]
    labels = [] if labelled else ["both labels in a classification source"]
    lacking = {
        "seg_dice": masks,
        "cls_balanced_accuracy": labels,
        "cls_roc_auc": labels,
        "combined": [*masks, *labels],
    }
    missing = lacking.get(stage.monitor.removeprefix("val/"))
    if missing:
        raise ConfigError(
            f"stage {stage.name} has the monitor {stage.monitor}, and the validation split of "
            f"{datamodule.data_dir} lacks {' and '.join(missing)}. Prepare more validation groups "
            "(split.val), name other sources, or choose another stage or monitor"
        )
