"""Why a step takes as long as it does, what fills the memory, and what would change either.

``tspsim.explain(...)`` asks for it: it is `tspsim.commands.explain`.
"""

import sys

from tspsim import Command

sys.modules[__name__].__class__ = Command
