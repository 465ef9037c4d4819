"""``python -m brainmtl.export ckpt=PATH [out_dir=DIR] [onnx=true]``: a checkpoint becomes a model to serve."""

from __future__ import annotations

from omegaconf import DictConfig

from brainmtl.config import entry, plain
from brainmtl.exporting.export import export

__all__ = ["export"]


@entry("export")
def main(cfg: DictConfig) -> None:
    """Command-line entry."""
    options = plain(cfg)
    folder = export(options.pop("ckpt"), options.pop("out_dir"), **options)
    print(f"model: {folder}")


if __name__ == "__main__":
    main()
