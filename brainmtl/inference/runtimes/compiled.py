"""The network after ``torch.compile``: a minute or more at the start for faster answers later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from brainmtl.data.preprocessing.preprocess import IMAGE_SIZE
from brainmtl.errors import ConfigError
from brainmtl.inference.runtimes.eager import Eager

if TYPE_CHECKING:
    from brainmtl.models.multitask import MultiTaskModel

# One image is a case of its own. The second size makes the compiler write code for small batches, the
# third for those from 16 on; 32 are the largest batch of the service and its mirror images.
COMPILED_BATCHES = (1, 2, 32)


class Compiled(Eager):
    """As :class:`Eager`; all that is to be compiled is compiled when it is made.

    Raises:
        ConfigError: no C++ compiler, or one that cannot do it.
    """

    name = "compile"

    def __init__(self, model: MultiTaskModel, device: str = "cpu", precision: str = "32") -> None:
        super().__init__(model, device, precision)
        self._encode = torch.compile(self._encode)
        self._decode = torch.compile(self._decode)
        channels = model.encoder.in_channels
        try:
            # as Network calls it: what was made outside of inference mode is another type to compile for
            with torch.inference_mode():
                for batch in COMPILED_BATCHES:
                    images = torch.zeros(batch, channels, IMAGE_SIZE, IMAGE_SIZE)
                    features, _ = self.encode(images)
                    self.decode(features)
        except Exception as error:  # what a missing or unfit compiler raises is torch's own
            raise ConfigError(
                f"runtime=compile: torch.compile failed ({type(error).__name__}: "
                f"{str(error).strip().splitlines()[0]}). It needs a C++ compiler (g++, clang++): "
                "install one, or use runtime=auto"
            ) from error
