"""What holds for all tests: nothing is done over and over that one process needs once."""

from __future__ import annotations

import gc
from functools import cache

from typer import testing

from tspsim.cli import SELDOM

# Without it a tenth of the time would go into looking for circles in programs that hold none.
gc.set_threshold(*SELDOM)
# The tree of commands is built once, not for each call: that took longer than most calls.
testing._get_command = cache(testing._get_command)  # type: ignore[attr-defined]
