"""k-means of queries, the largest cluster first."""

import numpy as np
from numpy.typing import NDArray

from retrieval.data.arrays import FloatArray
from retrieval.data.testset import IntArray

_ROUNDS = 100
"""Rounds of Lloyd's algorithm at most."""


def clusters(features: FloatArray, count: int, seed: int) -> list[IntArray]:
    """At most ``count`` clusters of rows float32[n, d], the largest first: ascending places int64 each.

    Lloyd's algorithm, started as k-means++ does (Arthur and Vassilvitskii 2007). There may be fewer clusters
    than asked for, such as where there are fewer different rows.
    """
    points = features.astype(np.float64)
    generator = np.random.default_rng(seed)
    centres = _first_centres(points, count, generator)
    owners = np.zeros(len(points), dtype=np.int64)
    for round_number in range(_ROUNDS):
        nearest = _squared_distances(points, centres).argmin(axis=1)
        if round_number and (nearest == owners).all():
            break
        owners = nearest
        centres = np.stack(
            [
                points[owners == cluster].mean(axis=0) if (owners == cluster).any() else centre
                for cluster, centre in enumerate(centres)
            ]
        )
    found = [np.flatnonzero(owners == cluster) for cluster in range(len(centres))]
    return sorted((own for own in found if len(own)), key=lambda own: (-len(own), int(own[0])))


def _first_centres(
    points: NDArray[np.float64], count: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    chosen = [int(generator.integers(len(points)))]
    distances = _squared_distances(points, points[chosen])[:, 0]
    while len(chosen) < count and distances.max() > 0:
        chosen.append(int(generator.choice(len(points), p=distances / distances.sum())))
        distances = np.minimum(distances, _squared_distances(points, points[chosen[-1:]])[:, 0])
    return points[chosen]


def _squared_distances(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64[n, k]; by differences, so that a point is at distance 0 from itself."""
    return np.stack([np.square(points - centre).sum(axis=1) for centre in centres], axis=1)
