"""Predicted against measured: what the simulator says of blocks that no constant was fitted to."""

from __future__ import annotations

from tspsim.calibrate.validate.compare import Comparison, Report, validate

__all__ = ["Comparison", "Report", "validate"]
