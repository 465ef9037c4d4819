"""One call from a picture or volume to what is said of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from brainmtl.data.manifest import all_synthetic
from brainmtl.errors import ConfigError
from brainmtl.inference.images import Served, predict_jobs, read_job
from brainmtl.inference.inputs.input_check import ImageLike
from brainmtl.inference.model_folder import ModelFolder, read_model_folder
from brainmtl.inference.network import Network
from brainmtl.inference.operating.bands import check_bands, load_bands
from brainmtl.inference.results import (
    Failure,
    ImageResult,
    InputError,
    ModelInfo,
    VolumeResult,
)
from brainmtl.inference.runtimes.choice import check_choice, choose_runtime

if TYPE_CHECKING:
    from brainmtl.inference.operating.operating_point import OperatingPoint


LOG = logging.getLogger(__name__)


class Request(NamedTuple):
    """A picture and what is asked of it: the arguments of :meth:`MultiTaskPredictor.predict_image`."""

    image: ImageLike
    include_gradcam: bool = False
    seg_gate: float | None = None
    cls_threshold: float | None = None


class MultiTaskPredictor:
    """A model folder that answers. Nothing in it changes after loading: threads may share it.

    Every method takes ``seg_gate`` and ``cls_threshold``, which replace the calibrated P from which a
    mask is made and from which the label is tumour; None takes those of the operating point.

    Raises:
        ConfigError: from every method, for a gate above the threshold or values outside [0, 1].
    """

    def __init__(
        self,
        contents: ModelFolder,
        device: str = "cpu",
        precision: str = "32",
        runtime: str = "auto",
    ) -> None:
        config, point = contents.config, contents.operating_point
        channels = contents.model.encoder.in_channels
        if channels != 1:
            raise ConfigError(
                f"{contents.path} takes {channels} sequences per slice; pictures and single volumes "
                "have one: export a model that was trained with one modality"
            )
        chosen = choose_runtime(
            contents.model, contents.graphs, runtime=runtime, device=device, precision=precision
        )
        LOG.info("runtime: %s", chosen)
        self.info = ModelInfo(
            name=config["name"],
            version=config["version"],
            stage=str(config["stage"]),
            preprocessing_version=config["preprocessing_version"],
            synthetic_training=bool(config["synthetic_training"]),
            weights_sha256=contents.weights_sha256,
            training_sources=tuple(config["training_sources"]),
            operating_point=point,
            has_ood_check=contents.ood is not None,
            folder=contents.path,
            runtime=chosen.to_json(),
            card=contents.card,
        )
        # the advice of the card is the one that the evaluation counted
        bands = contents.card.get("bands")
        self._served = Served(
            network=Network(contents.model, runtime=chosen.runtime),
            ood=contents.ood_int8 if chosen.runtime.precision == "int8" else contents.ood,
            bands=check_bands(bands) if bands else load_bands(),
            standing=_standing_warnings(self.info),
        )

    @property
    def network(self) -> Network:
        """The network that answers."""
        return self._served.network

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        *,
        device: str = "auto",
        precision: str = "32",
        runtime: str = "auto",
    ) -> MultiTaskPredictor:
        """Load a folder that `python -m brainmtl.export` wrote, every file checked by its hash.

        Args:
            device: auto, cpu or cuda.
            precision: 32, bf16 or int8.
            runtime: auto, eager, compile, onnx or openvino; docs/serving.md says which does what.
                ``info.runtime`` tells what "auto" has chosen.

        Raises:
            DataError: no model folder, or a file in it that is missing, left over, changed or broken.
            ConfigError: a device, precision or runtime that cannot work, as
                :func:`brainmtl.inference.runtimes.choice.choose_runtime` says.
        """
        device = check_choice(runtime, device, precision)  # before any file is opened
        return cls(read_model_folder(folder), device, precision, runtime)

    def predict_image(
        self,
        image: ImageLike,
        *,
        include_gradcam: bool = False,
        seg_gate: float | None = None,
        cls_threshold: float | None = None,
    ) -> ImageResult:
        """What the model says of one picture.

        Args:
            image: bytes of a file, a path, a PIL image, or an array (H, W) or (H, W, 3).
            include_gradcam: also where the classification looked.

        Raises:
            InputError: the picture cannot be read; ``reason`` says why in one word.
        """
        point = self.point(seg_gate, cls_threshold)
        return next(predict_jobs(self._served, [read_job(image, point, include_gradcam)]))

    def predict_batch(
        self,
        images: Sequence[ImageLike],
        *,
        include_gradcam: bool = False,
        seg_gate: float | None = None,
        cls_threshold: float | None = None,
    ) -> list[ImageResult | Failure]:
        """What the model says of several pictures, in their order.

        One that cannot be read becomes a :class:`Failure` and leaves the others alone. The encoder
        runs once per 16 pictures, the decoder on those that reach the gate.
        """
        self.point(
            seg_gate, cls_threshold
        )  # its error is the caller's and not that of each picture
        options = (include_gradcam, seg_gate, cls_threshold)
        return list(self.predict_requests([Request(image, *options) for image in images]))

    def predict_requests(self, requests: Sequence[Request]) -> Iterator[ImageResult | Failure]:
        """As :meth:`predict_batch` for pictures of which different things are asked, one by one.

        Options that cannot work are a :class:`Failure` too. All pictures have gone through the network
        before the first result is there; a result's planes are made when it is asked for.
        """
        found: list[Failure | None] = []
        jobs = []
        for image, include_gradcam, *thresholds in requests:
            try:
                jobs.append(read_job(image, self.point(*thresholds), include_gradcam))
                found.append(None)
            except (InputError, ConfigError) as error:
                name = str(image) if isinstance(image, str | Path) else None
                found.append(Failure(name, error))
        results = predict_jobs(self._served, jobs)
        for failure in found:
            yield next(results) if failure is None else failure

    def predict_volume(
        self,
        path: str | Path,
        *,
        seg_gate: float | None = None,
        cls_threshold: float | None = None,
    ) -> VolumeResult:
        """What the model says of a NIfTI volume (.nii, .nii.gz); the mask lies on the file's grid.

        Raises:
            InputError: the file cannot be read as one volume.
        """
        from brainmtl.inference.inputs.volume_files import read_volume
        from brainmtl.inference.volumes import predict_volume

        point = self.point(seg_gate, cls_threshold)
        return predict_volume(self._served, lambda: read_volume(Path(path)), point)

    def predict_dicom(
        self,
        folder: str | Path,
        *,
        series: str | None = None,
        files: Sequence[Path] | None = None,
        seg_gate: float | None = None,
        cls_threshold: float | None = None,
    ) -> VolumeResult:
        """What the model says of the one DICOM series in ``folder``, or of that with the
        SeriesInstanceUID ``series``. With ``files`` no others are looked at.

        The mask lies on the grid (columns, rows, slices) of the series, ``affine`` says where.

        Raises:
            InputError: no series, several and none named, or one that is no regular volume.
            ConfigError: pydicom is not installed.
        """
        from brainmtl.inference.inputs.dicom import read_series
        from brainmtl.inference.volumes import predict_volume

        point = self.point(seg_gate, cls_threshold)
        return predict_volume(self._served, lambda: read_series(Path(folder), series, files), point)

    def point(
        self, seg_gate: float | None = None, cls_threshold: float | None = None
    ) -> OperatingPoint:
        """What answers: the operating point of the model, with what replaces parts of it."""
        changes: dict[str, Any] = {"seg_gate": seg_gate, "threshold": cls_threshold}
        return self.info.operating_point.with_options(**changes)


def _standing_warnings(info: ModelInfo) -> tuple[str, ...]:
    found = []
    if info.synthetic_training:
        found.append(
            "The model was trained on synthetic images: its answers say nothing of patients."
            if all_synthetic(info.training_sources)
            else "Synthetic images were among those that the model was trained on."
        )
    if not info.operating_point.fitted:
        found.append("The operating point is not fitted: P is not calibrated.")
    if not info.has_ood_check:
        found.append(
            "The model has no check for images that are unlike those of training: it answers on anything."
        )
    return tuple(found)
