"""From what Python states to a scenario: sections by their keywords, and names that stand alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tspsim.kernels import SERVING
from tspsim.scenario.inference import infers
from tspsim.scenario.loader import Opened
from tspsim.scenario.schema import KernelsKeys
from tspsim.scenario.stated import Stated, plain
from tspsim.scenario.types import Scenario

#: What stands in a message where a file's place would.
PLACE = "Scenario"
#: The key that a section's name stands for.
_NAMED = {"model": "hf", "topology": "file", "strategy": "kind"}


def scenario(sections: Mapping[str, Any]) -> Scenario:
    """Return the scenario of some sections; None stands for one that is not stated.

    Raises
    ------
    ScenarioError
        With everything that is wrong, each with its keys.
    """
    return Opened.document(_keys(sections), PLACE).scenario()


def replaced(base: Scenario, changes: Sequence[str], sections: Mapping[str, Any]) -> Scenario:
    """Return a scenario with other sections, and then with changes of single keys.

    Raises
    ------
    ScenarioError
        With everything that is wrong.
    """
    document = {**restated(base), **_keys(sections)}
    return Opened.document(document, PLACE).scenario(changes)


def restated(base: Scenario) -> Mapping[str, Any]:
    """Return the keys of a scenario, less kernels that nobody chose: another phase has others."""
    phase: Any = {"preset": SERVING} if infers(base.workload.phase) else {}
    if base.document["kernels"] != KernelsKeys(**phase).document():
        return base.document
    return {name: keys for name, keys in base.document.items() if name != "kernels"}


def _keys(sections: Mapping[str, Any]) -> dict[str, Any]:
    stated = {name: each if isinstance(each, Stated) else plain(each)
              for name, each in sections.items() if each is not None}  # fmt: skip
    named = {name: {key: stated[name]} for name, key in _NAMED.items()
             if isinstance(stated.get(name), str)}  # fmt: skip
    return stated | named
