"""The table of steps of inference in docs/oracles.md, from torch's records in tests/data/oracles.

``python docs/refresh.py oracles`` writes it.
"""

from __future__ import annotations

import re
from pathlib import Path

from tspsim.calibrate.oracle.inference.record import read
from tspsim.calibrate.oracle.inference.table import table

PAGE = Path(__file__).parent / "oracles.md"
RECORDS = PAGE.parent.parent / "tests" / "data" / "oracles" / "inference.csv"
_TABLE = re.compile(r"(<!-- table: inference -->\n).*?(<!-- end of table -->)", re.DOTALL)


def renewed(text: str) -> str:
    """Return the page with the table as it is now."""
    made = table(read(RECORDS))
    return _TABLE.sub(lambda found: f"{found[1]}\n{made}\n\n{found[2]}", text)
