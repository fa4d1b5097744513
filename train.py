"""Entry point: compose the configuration, check it, hand it over to a run or to the sweep launcher.

Only Hydra and the configuration are imported here, so that ``--help`` and a configuration error answer at
once; PyTorch and everything built on it load after the configuration has passed.
"""

from __future__ import annotations

import os
import sys

import hydra
from omegaconf import DictConfig

from retrieval.config import register_schema
from retrieval.config.help import asked, page
from retrieval.run.funnel import exit_status
from retrieval.run.messages import prepared
from retrieval.run.waiting import wait_asleep


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def run(config: DictConfig) -> None:
    """One run (without ``-m``)."""
    from retrieval.run_one import run_single

    # Hydra prints a line of its own about an error that reaches it.
    status = exit_status(lambda: run_single(config))
    if status:
        sys.exit(status)


def main() -> None:
    """Run the command line and exit: 0 done, 1 a run failed, 2 bad configuration or input."""
    wait_asleep()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting by itself
    wanted, topic = asked(sys.argv[1:])
    if wanted:
        sys.exit(exit_status(lambda: print(page(topic))))
    register_schema()
    sys.argv[1:] = map(prepared, sys.argv[1:])
    sys.exit(exit_status(run))


if __name__ == "__main__":
    main()
