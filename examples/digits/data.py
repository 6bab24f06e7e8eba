"""Handwritten digits in five domains, split by image before any domain is made.

The images are scikit-learn's 1,797 digits of 8 by 8 pixels. Every domain of a part is drawn
from the same images, so that a held-out digit is held out in every domain. Writers are not
known in this data set: the same hand can appear in more than one part.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

Images = NDArray[np.float32]
Labels = NDArray[np.int64]
Transform = Callable[[Images, np.random.Generator], Images]

SIDE = 8
PIXELS = SIDE * SIDE
CLASSES = 10
SMALL_SIDE = 6
NOISE = 0.25
TRAIN_VIEWS = 3
HELD_OUT = 0.25


def inverted(images: Images) -> Images:
    """Swap ink and paper: float32 [N, 8, 8] in [0, 1] to the same."""
    return 1.0 - images


def rotated(images: Images) -> Images:
    """Turn by 90 degrees counter-clockwise: float32 [N, 8, 8] to the same."""
    return np.ascontiguousarray(np.rot90(images, axes=(1, 2)))


def noisy(images: Images, rng: np.random.Generator) -> Images:
    """Add Gaussian noise and clip to [0, 1]: float32 [N, 8, 8] to the same."""
    noise = rng.normal(0.0, NOISE, images.shape).astype(np.float32)
    return np.clip(images + noise, 0.0, 1.0)


def shifted(images: Images, rng: np.random.Generator) -> Images:
    """Shrink to 6 by 6 and place at a random offset on empty paper: float32 [N, 8, 8]."""
    small = shrink(images, SMALL_SIDE)
    placed = np.zeros_like(images)
    corners = rng.integers(0, SIDE - SMALL_SIDE + 1, (len(images), 2))
    for target, source, (row, column) in zip(placed, small, corners, strict=True):
        target[row : row + SMALL_SIDE, column : column + SMALL_SIDE] = source
    return placed


def shrink(images: Images, side: int) -> Images:
    """Average by area: float32 [N, 8, 8] to float32 [N, side, side]."""
    edges = np.arange(side + 1) * SIDE / side
    pixels = np.arange(SIDE)
    ends = np.minimum(edges[1:, None], pixels + 1)
    starts = np.maximum(edges[:-1, None], pixels)
    weights = np.clip(ends - starts, 0.0, None) * side / SIDE
    averaged = np.einsum("ai,nij,bj->nab", weights, images, weights)
    return averaged.astype(np.float32)


TRANSFORMS: dict[str, Transform] = {
    "as-written": lambda images, rng: images,
    "inverted": lambda images, rng: inverted(images),
    "rotated": lambda images, rng: rotated(images),
    "noisy": noisy,
    "shifted": shifted,
}
DOMAINS: tuple[str, ...] = tuple(TRANSFORMS)


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One part of the data: per domain, images float32 [N, 64] and labels int64 [N]."""

    images: dict[str, Images]
    labels: dict[str, Labels]

    def join(self, domains: tuple[str, ...]) -> tuple[Images, Labels]:
        """Images float32 [M, 64] and labels int64 [M] of the given domains, one after another."""
        images = np.concatenate([self.images[domain] for domain in domains])
        labels = np.concatenate([self.labels[domain] for domain in domains])
        return images, labels


@dataclass(frozen=True, slots=True, eq=False)
class Digits:
    """The three parts, which share no image."""

    train: Split
    validation: Split
    test: Split


def load(seed: int) -> Digits:
    """Split the digits by image, half for training and a quarter each to validate and test.

    Noise and offsets are drawn `TRAIN_VIEWS` times per training image and once elsewhere.
    Domains without chance repeat their images as often, so that all domains weigh the same.
    """
    images, labels = _digits()
    rest, test = _divide(np.arange(len(labels)), labels, HELD_OUT, seed)
    train, validation = _divide(rest, labels[rest], HELD_OUT / (1.0 - HELD_OUT), seed)
    return Digits(
        train=_split(images[train], labels[train], TRAIN_VIEWS, (seed, 0)),
        validation=_split(images[validation], labels[validation], 1, (seed, 1)),
        test=_split(images[test], labels[test], 1, (seed, 2)),
    )


def write(part: Split, file: Path) -> None:
    """Writes the images of all domains with their digits and domains, for `fabric evaluate`."""
    pixels, labels = part.join(DOMAINS)
    domains = np.repeat(DOMAINS, [len(part.labels[domain]) for domain in DOMAINS])
    np.savez(file, pixels=pixels, label=labels, domain=domains)


def _digits() -> tuple[Images, Labels]:
    """All images float32 [1797, 8, 8] in [0, 1] and labels int64 [1797]."""
    pixels, labels = load_digits(return_X_y=True)
    images = (pixels / 16.0).astype(np.float32).reshape(-1, SIDE, SIDE)
    return images, labels.astype(np.int64)


def _divide(indices: Labels, labels: Labels, held_out: float, seed: int) -> tuple[Labels, Labels]:
    """Divide indices int64 [N] in two, each with the same share of every digit."""
    kept, held = train_test_split(indices, test_size=held_out, stratify=labels, random_state=seed)
    return kept, held


def _split(images: Images, labels: Labels, views: int, key: tuple[int, int]) -> Split:
    """Make every domain of images float32 [N, 8, 8], with `views` draws of each image."""
    repeated = np.tile(images, (views, 1, 1))
    made = {}
    for position, (domain, transform) in enumerate(TRANSFORMS.items()):
        rng = np.random.default_rng((*key, position))
        made[domain] = transform(repeated, rng).reshape(-1, PIXELS)
    return Split(images=made, labels={domain: np.tile(labels, views) for domain in made})
