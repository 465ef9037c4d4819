"""Is this image like those of training? Distance of its features, and a limit from validation.

Mahalanobis distance of pooled encoder features (Lee et al. 2018, "A Simple Unified Framework for
Detecting Out-of-Distribution Samples and Adversarial Attacks"), with the covariance shrunk as Ledoit
and Wolf do (J. Multivariate Analysis 88, 2004), from the nearest source of training. The features are
those of every level of the encoder and not only of the bottleneck: a network maps much that is no head
into the middle of its bottleneck features, while edges and textures differ in the levels before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

# One image of a validation set in 200 lies beyond the limit, and about as many to be expected later.
QUANTILE = 0.995
# Of a source: fewer images say too little about the spread of their features.
MIN_TRAINING = 10
MIN_VALIDATION = 10


def pool(features: Sequence[Tensor]) -> np.ndarray:
    """Feature vectors of an encoder's maps, float64 (B, 2 * channels of all levels).

    Mean and SD of each channel over the image, as square roots: both are never negative, and skewed.
    """
    import torch

    pooled = []
    for level in features:
        level = level.float()
        pooled += [level.mean(dim=(2, 3)), level.std(dim=(2, 3), correction=0)]
    return torch.cat(pooled, dim=1).clamp(min=0).sqrt().double().cpu().numpy()


@dataclass(frozen=True, eq=False)
class Cluster:
    """Training features of one source: ``centre`` (F,), and the covariance by its eigenvectors.

    ``axes`` (R, F) with ``precision`` (R,), the inverse variances along them; ``rest`` is the
    inverse variance in every direction that the R axes leave over.
    """

    centre: np.ndarray
    axes: np.ndarray
    precision: np.ndarray
    rest: float

    @classmethod
    def fit(cls, features: np.ndarray) -> Cluster:
        """From standardised features (N, F); the shrunk covariance is never built, F may be thousands."""
        from sklearn.covariance import ledoit_wolf_shrinkage

        centre = features.mean(axis=0)
        centred = features - centre
        share = float(ledoit_wolf_shrinkage(centred, assume_centered=True))
        _, singular, axes = np.linalg.svd(centred, full_matrices=False)
        variances = singular**2 / len(features)
        round_part = share * variances.sum() / features.shape[1]
        if round_part <= 0:
            raise DataError(
                "the features of the training images have no spread at all: train the model, or "
                "export with ood=false"
            )
        return cls(centre, axes, 1 / ((1 - share) * variances + round_part), float(1 / round_part))

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Mahalanobis distance (B,) of standardised features (B, F)."""
        centred = features - self.centre
        along = centred @ self.axes.T
        # what lies outside the axes; rounding may leave a tiny negative number
        across = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        return np.sqrt((along**2) @ self.precision + across * self.rest)


@dataclass(frozen=True, eq=False)
class OodDetector:
    """Distance from the training data and the ``threshold`` beyond which an image is unlike it.

    ``mean`` and ``scale`` (F,) standardise features; ``clusters`` holds one per source of training.
    """

    mean: np.ndarray
    scale: np.ndarray
    clusters: Mapping[str, Cluster]
    threshold: float

    @classmethod
    def fit(
        cls,
        training: np.ndarray,
        sources: Sequence[str] | np.ndarray,
        validation: np.ndarray,
        quantile: float = QUANTILE,
    ) -> OodDetector:
        """Fit on feature vectors of :func:`pool`.

        Args:
            training: (N, F) of training images; ``sources`` (N,) names where each is from.
            validation: (M, F) of validation images, which only set the threshold.
            quantile: share of validation images that lie within the threshold.

        Raises:
            DataError: a source with fewer than 10 training images, fewer than 10 validation images,
                or features without any spread.
        """
        sources = np.asarray(sources).astype(str)
        if training.ndim != 2 or training.shape[1:] != validation.shape[1:]:
            raise ValueError(f"features {training.shape} and {validation.shape} must be (N, F)")
        names, counts = np.unique(sources, return_counts=True)
        for name, count in zip(names, counts, strict=True):
            if count < MIN_TRAINING:
                raise _too_few(f"source {name} has {count} training images", MIN_TRAINING)
        if len(validation) < MIN_VALIDATION:
            raise _too_few(f"there are {len(validation)} validation images", MIN_VALIDATION)
        mean, scale = training.mean(axis=0), training.std(axis=0)
        scale = np.where(scale > 1e-9, scale, 1.0)  # a dead channel says nothing
        standard = (training - mean) / scale
        clusters = {str(name): Cluster.fit(standard[sources == name]) for name in names}
        unlimited = cls(mean, scale, clusters, np.inf)
        return cls(mean, scale, clusters, float(np.quantile(unlimited.score(validation), quantile)))

    def score(self, features: np.ndarray) -> np.ndarray:
        """Distance (B,) of feature vectors (B, F) from the nearest source of training, >= 0."""
        standard = (features - self.mean) / self.scale
        return np.min([one.distance(standard) for one in self.clusters.values()], axis=0)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Named float64 arrays, for safetensors."""
        found = {"mean": self.mean, "scale": self.scale, "threshold": np.array([self.threshold])}
        for name, one in self.clusters.items():
            found |= {
                f"{name}/centre": one.centre,
                f"{name}/axes": one.axes,
                f"{name}/precision": one.precision,
                f"{name}/rest": np.array([one.rest]),
            }
        return {key: np.ascontiguousarray(value, dtype=np.float64) for key, value in found.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> OodDetector:
        """The inverse of :meth:`to_arrays`.

        Raises:
            DataError: arrays missing, of shapes that do not fit, or not finite.
        """
        names = sorted(key.removesuffix("/centre") for key in arrays if key.endswith("/centre"))
        try:
            clusters = {
                name: Cluster(
                    arrays[f"{name}/centre"],
                    arrays[f"{name}/axes"],
                    arrays[f"{name}/precision"],
                    float(arrays[f"{name}/rest"][0]),
                )
                for name in names
            }
            detector = cls(arrays["mean"], arrays["scale"], clusters, float(arrays["threshold"][0]))
            usable = np.isfinite(detector.score(arrays["mean"][None])).all()
        except (KeyError, IndexError, ValueError) as error:
            raise _unusable(error) from error
        if not usable or not np.isfinite(detector.threshold):
            raise _unusable("a value is not finite")
        return detector


def _too_few(what: str, least: int) -> DataError:
    return DataError(
        f"{what}, and the check for unlike images needs {least}: give the data_dir of training, or "
        "export with ood=false, which leaves the model without that check"
    )


def _unusable(why: Any) -> DataError:
    return DataError(f"the OOD statistics are unusable ({why}): export the model again")
