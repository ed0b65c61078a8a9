"""What holds for all tests: Python looks for circles of references as seldom as in a command."""

from __future__ import annotations

import gc

from tspsim.cli import SELDOM

# Without it a tenth of the time would go into looking through programs that hold none.
gc.set_threshold(*SELDOM)
