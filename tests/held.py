"""``python -m tests.held ROWS ARGUMENT...``: tspsim, whose sweep waits once it has some rows.

A test can then kill or interrupt it before its end, however fast the machine is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from tspsim.cli import main
from tspsim.sweeps.store import Row, Store

#: Seconds that it waits for a test to end it.
PATIENCE = 60.0


def hold(most: int) -> None:
    """Let stores that have so many rows wait to be ended."""
    add = Store.add

    def held(store: Store, rows: Sequence[Row]) -> None:
        if len(store) >= most:
            time.sleep(PATIENCE)
        add(store, rows)

    Store.add = held  # type: ignore[method-assign]


if __name__ == "__main__":
    hold(int(sys.argv.pop(1)))
    main()
