"""Frozen features of images without any network: distances to k-means patches.

Coates and Ng 2012 (Learning Feature Representations with k-means): patches are set to mean 0 and
variance 1, whitened, and clustered; at each place of an image feature k is max(0, mean_j d_j - d_k)
with d_k the distance of the patch there to centre k, summed over each quarter of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8

from kleiber.errors import BadTable
from kleiber.maths.seeds import stream

STEADY = 10.0  # added to the variance of a patch, in squared pixels of 255
KEPT = 0.1  # added to the eigenvalues of the patches' covariance
ROUNDS = 20  # of k-means
BLOCK = 200  # images at once


@dataclass(frozen=True)
class Patches:
    """Centres of whitened patches, and the whitening: (patch - middle) @ turn."""

    centres: Float32[np.ndarray, "centres pixels"]
    middle: Float32[np.ndarray, "pixels"]
    turn: Float32[np.ndarray, "pixels pixels"]
    size: int


def learn_patches(
    images: UInt8[np.ndarray, "images channels rows columns"],
    *,
    centres: int = 128,
    size: int = 6,
    patches: int = 20_000,
    seed: int = 0,
) -> Patches:
    """The k-means centres of random patches of the images. Raises BadTable for too few pixels."""
    rows, columns = images.shape[2:]
    if not 1 <= size <= min(rows, columns):
        raise BadTable(f"patches of {size} pixels do not fit in images of {rows} by {columns}.")
    if not 1 <= centres <= patches:
        raise BadTable(f"{centres} centres need as many patches at least, got {patches}.")
    rng = stream(seed, "k-means patches")
    which = rng.integers(len(images), size=patches)
    down, right = (rng.integers(n - size + 1, size=patches) for n in (rows, columns))
    window = np.arange(size)
    at = (
        which[:, None, None],
        down[:, None, None] + window[:, None],
        right[:, None, None] + window,
    )
    flat = _even(np.moveaxis(images, 1, 3)[at].reshape(patches, -1).astype(np.float32))
    middle = flat.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(flat, rowvar=False))
    turn = ((vectors / np.sqrt(values + KEPT)) @ vectors.T).astype(np.float32)
    return Patches(_cluster((flat - middle) @ turn, centres, rng), middle, turn, size)


def _cluster(
    points: Float32[np.ndarray, "points pixels"], count: int, rng: np.random.Generator
) -> Float32[np.ndarray, "centres pixels"]:
    """Lloyd's iterations from random points; a centre that loses all its points becomes a point."""
    centres = points[rng.choice(len(points), count, replace=False)]
    for _ in range(ROUNDS):
        nearest = (points @ centres.T - 0.5 * (centres**2).sum(axis=1)).argmax(axis=1)
        members = np.zeros((count, len(points)), dtype=np.float32)
        members[nearest, np.arange(len(points))] = 1
        sizes = members.sum(axis=1, keepdims=True)
        spare = points[rng.integers(len(points), size=count)]
        centres = np.where(sizes > 0, members @ points / np.maximum(sizes, 1), spare)
    return centres


def patch_features(
    images: UInt8[np.ndarray, "images channels rows columns"], learnt: Patches, *, stride: int = 2
) -> Float[np.ndarray, "images dims"]:
    """An intercept and the standardised features: 1 + 4 times the number of centres."""
    blocks = [
        _pooled(images[start : start + BLOCK], learnt, stride)
        for start in range(0, len(images), BLOCK)
    ]
    features = np.concatenate(blocks).astype(np.float64)
    spread = features.std(axis=0)
    features = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.hstack([np.ones((len(features), 1)), features])


def _even(patches: Float32[np.ndarray, "patches pixels"]) -> Float32[np.ndarray, "patches pixels"]:
    """Patches of mean 0 and variance 1, the flat ones less."""
    centred = patches - patches.mean(axis=1, keepdims=True)
    return centred / np.sqrt(centred.var(axis=1, keepdims=True) + np.float32(STEADY))


def _pooled(
    images: UInt8[np.ndarray, "images channels rows columns"], learnt: Patches, stride: int
) -> Float32[np.ndarray, "images dims"]:
    """Activations summed over the quarters of each image."""
    side = learnt.size
    windows = np.lib.stride_tricks.sliding_window_view(images, (side, side), axis=(2, 3))
    windows = np.moveaxis(windows[:, :, ::stride, ::stride], 1, 5)  # as the patches were learnt
    shape = windows.shape[:3]
    flat = _even(windows.reshape(int(np.prod(shape)), -1).astype(np.float32))
    flat = (flat - learnt.middle) @ learnt.turn
    inner = flat @ learnt.centres.T
    square = (flat**2).sum(axis=1, keepdims=True) + (learnt.centres**2).sum(axis=1) - 2 * inner
    far = np.sqrt(np.maximum(square, 0))
    active = np.maximum(far.mean(axis=1, keepdims=True) - far, 0).reshape(*shape, -1)
    half = shape[1] // 2, shape[2] // 2
    quarters = [
        active[:, rows, columns].sum(axis=(1, 2))
        for rows in (slice(half[0]), slice(half[0], None))
        for columns in (slice(half[1]), slice(half[1], None))
    ]
    return np.concatenate(quarters, axis=1)
