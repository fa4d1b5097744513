"""``mgda``: the shortest vector between both gradients."""

from retrieval.training.omega.by_gradients import ByGradients


class MGDA(ByGradients):
    """The shortest vector between the two gradients (Désidéri 2012)."""

    name, weights = "mgda", "MGDAWeighting"
