"""``python -m tspsim.calibrate.oracle.fsdp FOLDER [CONFIG ...]``: the records, as two CSV files."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch

from tspsim.calibrate.oracle.fsdp.config import SUITE
from tspsim.calibrate.oracle.fsdp.run import record
from tspsim.calibrate.oracle.fsdp.table import events_table, peaks_table


def main() -> None:
    """Write the records of all configs, or of those that are named."""
    warnings.simplefilter("ignore")  # of torch about torch
    torch.set_num_threads(1)
    folder, *names = sys.argv[1:]
    asked = [config for config in SUITE if not names or config.name in names]
    records = [(config, record(config)) for config in asked]
    for name, table in (("events", events_table), ("peaks", peaks_table)):
        Path(folder, f"fsdp2-{name}.csv").write_text(table(records), encoding="utf-8")


if __name__ == "__main__":
    main()
