"""Is this image like those of training? Distance of its features, and a limit from held-out images.

Mahalanobis distance of pooled encoder features (Lee et al. 2018, "A Simple Unified Framework for
Detecting Out-of-Distribution Samples and Adversarial Attacks"), with the covariance shrunk as Ledoit
and Wolf do (J. Multivariate Analysis 88, 2004), from the nearest source of training. The features are
those of the encoder's levels above the bottleneck: edges and textures differ there, while a network
maps much that is no head into the middle of its bottleneck features. Beside them stand a few numbers of
the image itself, which do not depend on what the network has learnt. Training and held-out images take part
as they are and in altered copies: pictures of other places differ in sharpness, contrast and aspect
ratio as well, and are to be answered. What else was tried, and how much this refuses: docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

# Of the arrays in a file; another one means other features.
VERSION = 2
# Of held-out images as they are, and of their altered copies, within the limit. One in 50 lies beyond it,
# and about as many are to be expected later; of the copies some are worse than what anyone will send.
QUANTILE, ALTERED_QUANTILE = 0.98, 0.95
# Of the intensities and of the strength of edges within the head.
INTENSITIES, EDGES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99), (0.5, 0.9, 0.99)
# Ledoit and Wolf take images for independent; slices of one patient are not, and vary too little.
EXTRA_SHRINKAGE = 0.1
# Patients or pictures of validation: fewer do not show how far away the next one may lie.
MIN_GROUPS = 20
FOLDS = 5
# Of a feature, as a share of the median feature's SD. A channel that is alive in a few pixels of a few
# images would count as much as all others, and one held-out image where it is a little more so would
# set the limit.
LEAST_SPREAD = 0.1
# Of a source: fewer images say too little about the spread of their features.
MIN_TRAINING = 10
MIN_VALIDATION = 10


def pool(features: Sequence[Tensor], images: np.ndarray) -> np.ndarray:
    """Feature vectors of prepared images (B, C, H, W) and of an encoder's maps of them, float64 (B, F).

    Mean and SD of each channel over the image, of all levels but the last, as square roots: both are
    never negative, and skewed. Then, per image channel, quantiles of intensity and edge strength.
    """
    import torch

    pooled = []
    for level in features[:-1]:
        level = level.float()
        mean = level.mean(dim=(2, 3), keepdim=True)
        # Tensor.std() takes eleven times as long on a CPU, a third of the encoder's own time.
        variance = (level - mean).square_().mean(dim=(2, 3))
        pooled += [mean[:, :, 0, 0], variance.sqrt_()]
    levels = torch.cat(pooled, dim=1).clamp(min=0).sqrt().double().cpu().numpy()
    return np.concatenate([levels, [image_statistics(image) for image in images]], axis=1)


def image_statistics(image: np.ndarray) -> np.ndarray:
    """Quantiles of intensity and gradient within the head of one prepared image (C, H, W): (10 C,).

    Every second pixel in both directions, which is enough for quantiles; zeros where there is no head.
    """
    from brainmtl.data.preprocessing.preprocess import BACKGROUND_VALUE

    found = []
    for plane in image:
        middle = plane[1:-1:2, 1:-1:2]
        down = plane[2::2, 1:-1:2] - plane[:-2:2, 1:-1:2]
        across = plane[1:-1:2, 2::2] - plane[1:-1:2, :-2:2]
        head = middle != BACKGROUND_VALUE
        if not head.any():
            found.append(np.zeros(len(INTENSITIES) + len(EDGES)))
            continue
        edges = np.hypot(down, across)[head] / 2
        found += [np.quantile(middle[head], INTENSITIES), np.quantile(edges, EDGES)]
    return np.concatenate(found)


@dataclass(frozen=True, eq=False)
class Features:
    """Feature vectors ``values`` (N, F) of :func:`pool`, with ``sources`` and ``groups`` (N,), str, and
    ``altered`` (N,), bool: whether it is of an altered copy, not of the image as it is."""

    values: np.ndarray
    sources: np.ndarray
    groups: np.ndarray
    altered: np.ndarray

    def at(self, rows: np.ndarray) -> Features:
        """Those of the given rows."""
        return Features(
            self.values[rows], self.sources[rows], self.groups[rows], self.altered[rows]
        )

    def counts(self) -> dict[str, int]:
        """Images of each source; an altered copy is none of its own."""
        names, counts = np.unique(self.sources[~self.altered], return_counts=True)
        return dict(zip(map(str, names), map(int, counts), strict=True))


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
        share += EXTRA_SHRINKAGE * (1 - share)
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
        cls, training: Features, validation: Features, quantile: float = QUANTILE
    ) -> OodDetector:
        """Fit on training images; ``quantile`` of the held-out images lies within the threshold, and 95 %
        of their altered copies, every source counting the same, however many images it has.

        Held out are the validation images and, where they are of fewer than 20 patients or pictures,
        also the training images, each scored by a fit without its group (5 folds).

        Raises:
            DataError: a source with fewer than 10 training images, fewer than 10 validation images,
                or features without any spread.
        """
        for name, count in training.counts().items():
            if count < MIN_TRAINING:
                raise _too_few(f"source {name} has {count} training images", MIN_TRAINING)
        if (count := sum(validation.counts().values())) < MIN_VALIDATION:
            raise _too_few(f"there are {count} validation images", MIN_VALIDATION)
        found = cls._without_limit(training)
        held_out = [(found.score(validation.values), validation)]
        if len(np.unique(validation.groups)) < MIN_GROUPS:
            held_out += cls._cross_fitted(training)
        return cls(found.mean, found.scale, found.clusters, _limit(held_out, quantile))

    @classmethod
    def _without_limit(cls, training: Features) -> OodDetector:
        values, sources = training.values, training.sources
        mean, scale = values.mean(axis=0), values.std(axis=0)
        alive = scale[scale > 1e-9]
        least = LEAST_SPREAD * float(np.median(alive)) if alive.size else 1.0
        scale = np.maximum(scale, least)
        standard = (values - mean) / scale
        clusters = {
            str(name): Cluster.fit(standard[sources == name]) for name in np.unique(sources)
        }
        return cls(mean, scale, clusters, np.inf)

    @classmethod
    def _cross_fitted(cls, training: Features) -> list[tuple[np.ndarray, Features]]:
        """Training images with their scores by fits without their groups, of sources that remain large
        enough."""
        from sklearn.model_selection import GroupKFold

        folds = min(FOLDS, len(np.unique(training.groups)))
        if folds < 2:
            return []
        scored = []
        for kept, left_out in GroupKFold(folds).split(training.values, groups=training.groups):
            counts = training.at(kept).counts()
            usable = [name for name, count in counts.items() if count >= MIN_TRAINING]
            kept = kept[np.isin(training.sources[kept], usable)]
            left_out = left_out[np.isin(training.sources[left_out], usable)]
            if len(kept) and len(left_out):
                fitted = cls._without_limit(training.at(kept))
                others = training.at(left_out)
                scored.append((fitted.score(others.values), others))
        return scored

    def score(self, features: np.ndarray) -> np.ndarray:
        """Distance (B,) of feature vectors (B, F) from the nearest source of training, >= 0."""
        standard = (features - self.mean) / self.scale
        return np.min([one.distance(standard) for one in self.clusters.values()], axis=0)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Named float64 arrays, for safetensors."""
        found = {"mean": self.mean, "scale": self.scale, "threshold": np.array([self.threshold])}
        found["version"] = np.array([VERSION])
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
            DataError: arrays of another version, missing, of shapes that do not fit, or not finite.
        """
        version = int(arrays["version"][0]) if "version" in arrays else 1
        if version != VERSION:
            raise _unusable(f"they are of version {version}, this code reads version {VERSION}")
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


def _limit(held_out: Sequence[tuple[np.ndarray, Features]], quantile: float) -> float:
    """The larger of what ``quantile`` of the images and 95 % of their altered copies lie within."""
    scores = np.concatenate([one for one, _ in held_out])
    sources = np.concatenate([features.sources for _, features in held_out])
    altered = np.concatenate([features.altered for _, features in held_out])
    kinds = [(~altered, quantile), (altered, ALTERED_QUANTILE)]
    return max(_balanced_quantile(scores[of], sources[of], q) for of, q in kinds if of.any())


def _balanced_quantile(scores: np.ndarray, sources: np.ndarray, quantile: float) -> float:
    """The smallest score that ``quantile`` of the images do not exceed, each source weighing the same."""
    _, source, counts = np.unique(sources, return_inverse=True, return_counts=True)
    order = np.argsort(scores)
    held = np.cumsum((1 / counts[source])[order]) / len(counts)
    # a sum of many fractions may fall short of the quantile by rounding
    return float(scores[order][np.searchsorted(held, quantile - 1e-9)])


def _too_few(what: str, least: int) -> DataError:
    return DataError(
        f"{what}, and the check for unlike images needs {least}: give the data_dir of training, or "
        "export with ood=false, which leaves the model without that check"
    )


def _unusable(why: Any) -> DataError:
    return DataError(f"the OOD statistics are unusable ({why}): export the model again")
