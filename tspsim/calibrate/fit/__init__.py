"""From raw rows to a profile: a pure function, the same rows give the same bytes."""

from __future__ import annotations

from tspsim.calibrate.fit.constants import Constants, fit

__all__ = ["Constants", "fit"]
