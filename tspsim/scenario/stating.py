"""From what Python states to a scenario: sections by their keywords, and names that stand alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tspsim.kernels import SERVING
from tspsim.scenario.inference import infers
from tspsim.scenario.loader import Opened
from tspsim.scenario.schema import KernelsKeys
from tspsim.scenario.stated import plain
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
    document = {**base.document, **_keys(sections)}
    if "workload" in sections and "kernels" not in sections and _by_default(base):
        del document["kernels"]  # the new phase may have others
    return Opened.document(document, PLACE).scenario(changes)


def _keys(sections: Mapping[str, Any]) -> dict[str, Any]:
    stated = {name: plain(each) for name, each in sections.items() if each is not None}
    named = {name: {key: stated[name]} for name, key in _NAMED.items()
             if isinstance(stated.get(name), str)}  # fmt: skip
    return stated | named


def _by_default(base: Scenario) -> bool:
    """Whether the kernels are those of the phase where nobody says whose."""
    stated: Any = {"preset": SERVING} if infers(base.workload.phase) else {}
    return bool(base.document["kernels"] == KernelsKeys(**stated).document())
