"""Writes execution traces: a file for every rank, and the ranks of their groups beside them."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tspsim import __version__
from tspsim.engine.timeline import Timeline
from tspsim.output.chakra.nodes import RankNodes
from tspsim.output.chakra.numbers import Groups, Tags
from tspsim.output.chakra.schema import VERSION, messages
from tspsim.program.by_rank import axes_of

if TYPE_CHECKING:
    from tspsim.result import Result

#: What ASTRA-sim's ``--workload-configuration`` ends in, and its ``--comm-group-configuration``.
STEM, GROUPS = "chakra", "chakra.groups.json"


def write(result: Result, folder: Path) -> list[Path]:
    """Write the traces of all ranks, also of those that others were played for."""
    from google.protobuf.proto import serialize_length_prefixed

    timeline, groups, tags = result.timeline, Groups(), Tags()
    alike: dict[object, dict[int, bytes]] = defaultdict(dict)
    paths = [folder / f"{STEM}.{rank}.et" for rank in range(timeline.mesh.ranks)]
    for rank, path in enumerate(paths):
        with path.open("wb") as file:
            serialize_length_prefixed(_about(result, rank), file)
            shared = alike[_shared_by(timeline, rank)]
            file.writelines(RankNodes(timeline, rank, groups, tags, shared))
    beside = folder / GROUPS
    beside.write_text(json.dumps(groups.members()) + "\n", encoding="utf-8")
    return [*paths, beside]


def _shared_by(timeline: Timeline, rank: int) -> object:
    """Return what ranks have in common that compute the same at the same times."""
    program = timeline.programs.of(rank)
    place = tuple(timeline.mesh.coordinate(rank, axis) for axis in axes_of(program))
    return id(program), place, id(timeline.start[rank]), id(timeline.end[rank])


def _about(result: Result, rank: int) -> Any:
    found = messages().GlobalMetadata(version=VERSION)
    found.attr.add(name="schema", string_val=f"1.0.2-chakra.{VERSION}")
    found.attr.add(name="producer", string_val=f"tspsim {__version__}")
    found.attr.add(name="scenario", string_val=result.scenario.name)
    found.attr.add(name="rank", int32_val=rank)
    return found
