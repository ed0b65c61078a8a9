"""``python -m tspsim.calibrate.oracle [DOCS]``: the table of record, and its pictures."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tspsim.calibrate.oracle.compare import compare_all
from tspsim.calibrate.oracle.plot import draw
from tspsim.calibrate.oracle.suite import DTENSOR, PICTURES, REFERENCE
from tspsim.calibrate.oracle.table import table

#: Between these two lines, docs/oracles.md shows the table.
_SHOWN = re.compile(r"(<!-- table -->\n).*?(<!-- end of the table -->)", re.DOTALL)


def main() -> None:
    """Print the table; given the folder of documents, renew it and the pictures there."""
    reports = compare_all(REFERENCE + DTENSOR)
    printed = table(reports)
    sys.stdout.write(printed + "\n")
    for folder in map(Path, sys.argv[1:]):
        page = folder / "oracles.md"
        text = page.read_text(encoding="utf-8")
        page.write_text(
            _SHOWN.sub(lambda m: f"{m[1]}\n{printed}\n\n{m[2]}", text), encoding="utf-8"
        )
        for report in reports:
            if report.job in PICTURES:
                draw(report, folder / "oracles" / f"{PICTURES[report.job]}.png")


if __name__ == "__main__":
    main()
