"""``pcgrad``: gradients without their parts against each other."""

from retrieval.training.omega.by_gradients import ByGradients


class PCGrad(ByGradients):
    """Each gradient without its part against the other one (Yu et al. 2020, arXiv 2001.06782)."""

    name, weights = "pcgrad", "PCGradWeighting"
