"""Scenarios: from a YAML file and overrides to checked, frozen values."""

from tspsim.scenario.loader import from_document, load
from tspsim.scenario.types import Scenario

__all__ = ["Scenario", "from_document", "load"]
