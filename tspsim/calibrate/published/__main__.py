"""``python -m tspsim.calibrate.published``: fit the profiles anew and draw the fits."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tspsim.calibrate.published import dispatch, measured, mixtures
from tspsim.calibrate.published.write import pictures, profiles, quality
from tspsim.files.errors import UserError

_TOP = Path(__file__).resolve().parents[3]


def main() -> int:
    """Write every profile and every picture; 2 when the rows cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m tspsim.calibrate.published",
        description="Fit the shipped profiles to the published rows, and draw the fits.",
    )
    places = (
        ("rows", "published"),
        ("profiles", "topologies/profiles"),
        ("pictures", "docs/images"),
        ("mixtures", "docs/mixtures.csv"),
    )
    for name, default in places:
        parser.add_argument(
            f"--{name}", type=Path, default=_TOP / default, metavar="PLACE",
            help=f"default: {default} of the project",
        )  # fmt: skip
    parser.add_argument(
        "--fits", action="store_true",
        help="write nothing; print how well the shipped profiles fit",
    )  # fmt: skip
    parser.add_argument(
        "--curves", action="store_true",
        help="write nothing; print the errors of the curves of collectives over size",
    )  # fmt: skip
    parser.add_argument(
        "--dispatch", action="store_true",
        help="write nothing; print how far all-to-alls are off measured dispatches to experts",
    )  # fmt: skip
    given = parser.parse_args()
    try:
        if given.dispatch:
            sys.stdout.write(dispatch.table())
            return 0
        if given.curves:
            sys.stdout.write(measured.table())
            return 0
        if given.fits:
            sys.stdout.write(quality())
            return 0
        for name, text in profiles(given.rows, mixtures.written(given.mixtures)):
            (given.profiles / name).write_text(text, encoding="utf-8")
        pictures(given.rows, given.pictures)
    except (UserError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
