"""``python -m tspsim.calibrate.oracle.inference FOLDER [CONFIG ...]``: ``inference.csv``."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch

from tspsim.calibrate.oracle.inference.config import SUITE
from tspsim.calibrate.oracle.inference.record import table
from tspsim.calibrate.oracle.inference.run import record


def main() -> None:
    """Write the records of all configs, or of those that are named: of the first and last rank."""
    warnings.simplefilter("ignore")  # of torch about torch
    torch.set_num_threads(1)
    folder, *names = sys.argv[1:]
    asked = [config for config in SUITE if not names or config.name in names]
    records = [(c.name, rank, record(c, rank)) for c in asked for rank in c.looked_at]
    Path(folder, "inference.csv").write_text(table(records), encoding="utf-8")


if __name__ == "__main__":
    main()
