"""``python -m sweeps``."""

import sys

import numpy as np

from sweeps.cli import main

if __name__ == "__main__":
    # The solver tries parameters far outside the data and rejects whatever is not finite.
    np.seterr(divide="ignore", invalid="ignore", over="ignore")
    sys.exit(main())
