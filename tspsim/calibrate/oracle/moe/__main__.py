"""``python -m tspsim.calibrate.oracle.moe FOLDER [CONFIG ...]``: the records, as ``moe.csv``."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from tspsim.calibrate.oracle.moe.config import SUITE
from tspsim.calibrate.oracle.moe.record import table
from tspsim.calibrate.oracle.moe.run import record


def main() -> None:
    """Write the records of all configs, or of those that are named, of every rank."""
    warnings.simplefilter("ignore")  # of torch about torch
    folder, *names = sys.argv[1:]
    asked = [config for config in SUITE if not names or config.name in names]
    records = [(c.name, rank, record(c, rank)) for c in asked for rank in range(c.ranks)]
    Path(folder, "moe.csv").write_text(table(records), encoding="utf-8")


if __name__ == "__main__":
    main()
