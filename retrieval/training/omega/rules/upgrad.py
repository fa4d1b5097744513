"""``upgrad``: the sum of projections on the cone where no loss rises."""

from retrieval.training.omega.by_gradients import ByGradients


class UPGrad(ByGradients):
    """Sum of each gradient's projection on the cone where no loss rises (Quinton and Rey 2024,
    arXiv 2406.16232). With two losses PCGrad points in the same direction.
    """

    name, weights = "upgrad", "UPGradWeighting"
