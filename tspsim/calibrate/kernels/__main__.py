"""``python -m tspsim.calibrate.kernels``: what the shipped files say of their tables."""

from __future__ import annotations

import argparse
import sys

from tspsim.calibrate.kernels.write import render
from tspsim.files.shipped import names, shipped
from tspsim.topology.table_files import read_tables


def main() -> int:
    """Print it, of all tables or of those of one kind."""
    parser = argparse.ArgumentParser(
        prog="python -m tspsim.calibrate.kernels",
        description="Print how good the shipped kernel tables are.",
    )
    parser.add_argument("--kind", metavar="NAME", help="of this kind of kernel alone")
    kind = parser.parse_args().kind
    for name in names("topologies/tables"):
        found = read_tables(shipped("topologies/tables") / f"{name}.npz").about
        found["tables"] = {
            label: one for label, one in found["tables"].items() if kind in (None, label.split()[0])
        }
        sys.stdout.write(f"{render(found)}\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
