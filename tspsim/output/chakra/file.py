"""Writes execution traces: a file for every rank, and the ranks of their groups beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tspsim import __version__
from tspsim.output.chakra.nodes import RankNodes
from tspsim.output.chakra.numbers import Groups, Tags
from tspsim.output.chakra.schema import VERSION, messages

if TYPE_CHECKING:
    from tspsim.result import Result

#: What ASTRA-sim's ``--workload-configuration`` ends in, and its ``--comm-group-configuration``.
STEM, GROUPS = "chakra", "chakra.groups.json"


def write(result: Result, folder: Path) -> list[Path]:
    """Write the traces of all ranks, also of those that others were played for."""
    from google.protobuf.proto import serialize_length_prefixed

    timeline, groups, tags = result.timeline, Groups(), Tags()
    paths = [folder / f"{STEM}.{rank}.et" for rank in range(timeline.mesh.ranks)]
    for rank, path in enumerate(paths):
        with path.open("wb") as file:
            serialize_length_prefixed(_about(result, rank), file)
            for node in RankNodes(timeline, rank, groups, tags):
                serialize_length_prefixed(node, file)
    beside = folder / GROUPS
    beside.write_text(json.dumps(groups.members()) + "\n", encoding="utf-8")
    return [*paths, beside]


def _about(result: Result, rank: int) -> Any:
    found = messages().GlobalMetadata(version=VERSION)
    found.attr.add(name="schema", string_val=f"1.0.2-chakra.{VERSION}")
    found.attr.add(name="producer", string_val=f"tspsim {__version__}")
    found.attr.add(name="scenario", string_val=result.scenario.name)
    found.attr.add(name="rank", int32_val=rank)
    return found
