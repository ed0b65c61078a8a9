"""``python -m tspsim.calibrate.oracle [FOLDER]``: the table of record, and its pictures."""

from __future__ import annotations

import sys
from pathlib import Path

from tspsim.calibrate.oracle.compare import compare_all
from tspsim.calibrate.oracle.plot import draw
from tspsim.calibrate.oracle.suite import DTENSOR, PICTURES, REFERENCE
from tspsim.calibrate.oracle.table import table


def main() -> None:
    """Print the table; draw memory timelines into a folder when one is given."""
    reports = compare_all(REFERENCE + DTENSOR)
    sys.stdout.write(table(reports) + "\n")
    for folder in sys.argv[1:]:
        for report in reports:
            if report.job in PICTURES:
                draw(report, Path(folder) / f"oracle-memory-{PICTURES[report.job]}.png")


if __name__ == "__main__":
    main()
