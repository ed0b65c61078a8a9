"""``python -m tspsim.calibrate.oracle [FOLDER]``: the table of record, and its pictures."""

from __future__ import annotations

import sys

from tspsim.calibrate.oracle.compare import compare_all
from tspsim.calibrate.oracle.suite import DTENSOR
from tspsim.calibrate.oracle.table import table


def main() -> None:
    """Print the table; draw the memory timelines into a folder when one is given."""
    reports = compare_all(DTENSOR)
    sys.stdout.write(table(reports) + "\n")


if __name__ == "__main__":
    main()
