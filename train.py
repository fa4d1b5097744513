"""Entry point: compose the configuration, check it, hand it over to a run or to the sweep launcher.

Only Hydra is imported here, so that ``--help`` and a configuration error answer at once; PyTorch and
everything built on it load after the configuration has passed.
"""

from __future__ import annotations

import os
import sys

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig

from retrieval.config import register_schema
from retrieval.errors import ConfigError, ParetrieveError
from retrieval.run.messages import explain, quoted

register_schema()


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def run(config: DictConfig) -> None:
    """One run (without ``-m``)."""
    from retrieval.run_one import run_single

    sys.exit(run_single(config))


def main() -> None:
    """Turn every foreseeable error into one line and an exit status: 1 a run failed, 2 bad configuration."""
    full_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting by itself
    sys.argv[1:] = map(quoted, sys.argv[1:])
    try:
        run()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of --help closed it
        os._exit(0)
    except Exception as error:
        if full_traceback:
            raise
        message = explain(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        # Some of Hydra's complaints about a configuration are an OSError, too.
        misconfigured = isinstance(error, ConfigError | HydraException)
        is_run = isinstance(error, ParetrieveError | OSError) and not misconfigured
        sys.exit(1 if is_run else 2)


if __name__ == "__main__":
    main()
