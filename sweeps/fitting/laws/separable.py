"""Laws that are linear in some of their parameters once the others are given."""

from abc import abstractmethod

import numpy as np

from sweeps.fitting.laws.base import Floats, Law, Points

_SMALLEST = 1e-4
"""What stands in for a dropped coefficient, relative to the smallest value of the metric."""


class Separable(Law):
    """A law ``Σ c_i·f_i(N, D; q)`` with coefficients c and nonlinear parameters q."""

    @abstractmethod
    def nonlinear(self, count: int) -> Floats:
        """At least ``count`` values [g, q] of what enters the form nonlinearly, to start from."""

    @abstractmethod
    def columns(self, outer: Floats, u: Floats, v: Floats) -> list[Floats]:
        """The functions [m] that the coefficients multiply, given one row [q] of :meth:`nonlinear`."""

    @abstractmethod
    def assemble(self, outer: Floats, linear: Floats, smallest: float) -> Floats:
        """Centred parameters [p] of one row of :meth:`nonlinear` and the coefficients of its columns.

        ``smallest`` stands in for a coefficient that is 0 where its logarithm is needed.
        """

    def starts(self, points: Points, count: int) -> Floats:
        """At least ``count`` starts [r, p]: the nonlinear parameters on a grid, the linear ones by NNLS.

        Variable projection (Golub and Pereyra 1973) in its simplest use: given the nonlinear parameters,
        the others follow from non-negative least squares on relative errors at once.
        """
        return np.stack([self._project(points, row) for row in self.nonlinear(count)])

    def _project(self, points: Points, outer: Floats) -> Floats:
        # The commands' help needs the names of the laws and not SciPy, which takes long to load.
        from scipy import optimize

        columns = self.columns(outer, points.u, points.v)
        root = np.sqrt(points.weight)
        relative = np.stack(columns, axis=1) * (root / np.exp(points.log_y))[:, None]
        coefficients, _ = optimize.nnls(relative, root)
        # A term that NNLS drops still needs a finite logarithm to start from.
        return self.assemble(outer, coefficients, _SMALLEST * float(np.exp(points.log_y).min()))
