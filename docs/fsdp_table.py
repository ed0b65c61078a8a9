"""The table of FSDP2's peaks in docs/oracles.md, from torch's records in tests/data/oracles.

``python docs/refresh.py oracles`` writes it.
"""

from __future__ import annotations

import re
from pathlib import Path

from tspsim.calibrate.oracle.fsdp.peaks import peaks, table

PAGE = Path(__file__).parent / "oracles.md"
RECORDS = PAGE.parent.parent / "tests" / "data" / "oracles" / "fsdp2-peaks.csv"
_TABLE = re.compile(r"(<!-- table: fsdp2 -->\n).*?(<!-- end of table -->)", re.DOTALL)


def renewed(text: str) -> str:
    """Return the page with the table as it is now."""
    made = table(peaks(RECORDS))
    return _TABLE.sub(lambda found: f"{found[1]}\n{made}\n\n{found[2]}", text)
