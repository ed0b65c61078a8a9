"""The parts of a scenario: each held against its keys, then all against each other."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from tspsim.files import faults
from tspsim.files.errors import Problem
from tspsim.kernels import Kernels
from tspsim.scenario import checks
from tspsim.scenario.disturbed import disturbed
from tspsim.scenario.experts import experts_problems, routing_problems
from tspsim.scenario.inference import inference_problems
from tspsim.scenario.schema import ScenarioKeys
from tspsim.scenario.strategies import read_strategy
from tspsim.scenario.topologies import Hardware, read_hardware
from tspsim.scenario.types import Scenario
from tspsim.strategies.base import StrategyOptions
from tspsim.topology.disturbances import Disturbances


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that a scenario consists of, right in itself and together.

    Parameters
    ----------
    keys : ScenarioKeys
    strategy : StrategyOptions
    hardware : Hardware
    """

    keys: ScenarioKeys
    strategy: StrategyOptions
    hardware: Hardware

    def scenario(self, name: str, path: str | None) -> Scenario:
        """Return the scenario; `name` counts where its file gives none."""
        keys = self.keys
        name = keys.name or name
        return Scenario.resolved(
            name=name,
            path=path,
            model=keys.model.value(),
            workload=keys.work(),
            optimizer=keys.optimizer.value(),
            strategy=self.strategy,
            topology=self.hardware.topology,
            algorithm=keys.network.algorithm,
            document=self._document(name),
            detail=keys.network.detail,
            sharing=keys.network.sharing,
            fold=keys.engine.fold == "auto",
            allocator=keys.memory.allocator,
            disturbances=keys.disturbances.value() if keys.disturbances else Disturbances(),
        )

    def _document(self, name: str) -> dict[str, Any]:
        """Return the scenario with everything explicit, in a form that is read back as equal."""
        document: dict[str, Any] = self.keys.model_dump(mode="json", exclude_none=True)
        document["name"] = name
        document["model"] = asdict(self.keys.model.value())
        document["topology"] = dict(self.hardware.document)
        document["kernels"] = self.keys.kernels.document()
        document["strategy"] = self.strategy.model_dump(mode="json")
        return document


def read_parts(
    data: Mapping[str, Any], broken: AbstractSet[str]
) -> tuple[Parts | None, list[Problem]]:
    """Return the parts of an expanded scenario, or everything that is wrong with them.

    Parameters
    ----------
    data : Mapping
        The scenario's keys with every named file read in.
    broken : set of str
        Sections whose named files could not be read: nothing more is said about these.
    """
    keys, problems = _read_keys(data)
    strategy, hardware = None, None
    if isinstance(data.get("strategy"), dict):
        strategy, wrong = read_strategy(data["strategy"])
        problems += wrong
    if isinstance(data.get("topology"), dict) and not broken & {"topology", "timing"}:
        hardware, wrong = read_hardware(data["topology"], _profile(data))
        problems += wrong
    problems += _together(keys, strategy, hardware)
    if keys and keys.disturbances and hardware:
        hardware, wrong = disturbed(hardware, keys.disturbances)
        problems += wrong
    problems = [p for p in problems if not p.path or p.path[0] not in broken]
    if problems or not (keys and strategy and hardware):
        return None, problems
    hardware = _run_by(keys.kernels.value(), hardware, keys.workload.phase)
    if stated := keys.memory.stated():
        hardware = hardware.with_memory(stated)
    return Parts(keys, strategy, hardware), []


def _run_by(kernels: Kernels, hardware: Hardware, phase: str) -> Hardware:
    """Return the hardware as a framework's kernels use it."""
    if kernels.launch is not None:
        hardware = hardware.with_launch(kernels.launch)
    if smallest := kernels.smallest(phase):
        hardware = hardware.with_replays(smallest)
    if kernels.reduces_as_servers(phase):
        hardware = hardware.with_serving()
    if kernels.framework == "none":  # nobody's kernels call nobody's libraries
        hardware = hardware.with_memory({"blas": 0.0, "communicator": 0.0})
    return hardware if kernels.pace == 1 else hardware.with_pace(kernels.pace)


def _read_keys(data: Mapping[str, Any]) -> tuple[ScenarioKeys | None, list[Problem]]:
    try:
        return ScenarioKeys.model_validate(data), []
    except ValidationError as error:
        return None, faults.problems(error, ScenarioKeys, data)


def _profile(data: Mapping[str, Any]) -> dict[str, Any] | None:
    timing = data.get("timing")
    profile = timing.get("profile") if isinstance(timing, dict) else None
    return profile if isinstance(profile, dict) else None


def _together(
    keys: ScenarioKeys | None, strategy: StrategyOptions | None, hardware: Hardware | None
) -> list[Problem]:
    """Return what is wrong between parts that are right in themselves."""
    problems: list[Problem] = []
    if keys:
        wrong = list(inference_problems(keys.workload))
        problems += wrong
        problems += checks.model_problems(keys.model)
        problems += experts_problems(keys.model)
        if not wrong:
            problems += checks.size_problems(keys)
            problems += checks.chunk_problems(keys)
        problems += checks.window_problems(keys)
        problems += checks.algorithm_problems(keys.network.algorithm)
    if keys and not problems:  # layers can be counted
        problems += routing_problems(keys)
    if keys and strategy and not problems:
        problems += strategy.all_problems(keys.model.value(), keys.work())
    if keys and hardware:
        problems += checks.device_problems(hardware.topology, keys.workload)
        problems += checks.memory_problems(hardware.topology, keys.memory)
        problems += checks.all_reduce_problems(keys, hardware.topology)
    if strategy and hardware:
        problems += checks.rank_problems(strategy, hardware.topology)
        problems += checks.offload_problems(strategy, hardware.topology)
    return problems
