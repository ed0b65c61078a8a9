"""From a command line of Megatron-LM to a scenario."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tspsim.files.errors import ScenarioError
from tspsim.files.source import in_order
from tspsim.scenario.interop.command_line import CommandLine, parse
from tspsim.scenario.interop.draft import Draft, Key, Passed, grouped
from tspsim.scenario.interop.machine import machine_keys, size
from tspsim.scenario.interop.megatron_checks import contradictions
from tspsim.scenario.interop.megatron_experts import experts_of
from tspsim.scenario.interop.megatron_flags import FLAGS
from tspsim.scenario.interop.megatron_mesh import mesh_keys, mesh_of
from tspsim.scenario.interop.megatron_model import model_keys
from tspsim.scenario.interop.megatron_step import step_keys

TOOL = "Megatron-LM"


def command(text: str, name: str) -> CommandLine:
    """Return the flags of a command line.

    Raises
    ------
    ScenarioError
        With everything that is wrong, each with its place.
    """
    line = parse(text, name, FLAGS, TOOL)
    refused = [
        line.line(flag, f"not modelled ({FLAGS[flag].why}); remove it, to simulate a step without")
        for flag in line.given
        if FLAGS[flag].fate == "refused"
    ]
    if refused:
        raise ScenarioError(in_order(refused))
    return line


def read(text: str, name: str, world: int | None = None, topology: str | None = None) -> Draft:
    """Return the scenario that a command line asks for.

    Parameters
    ----------
    text : str
        Flags, with or without ``torchrun ... pretrain_gpt.py`` in front; or a script with them.
    name : str
        Its file, or what it is called in messages.
    world : int, optional
        Devices, where no launcher says it.
    topology : str, optional
        A file, or a shipped name.

    Raises
    ------
    ScenarioError
        With everything that is wrong, each with its place.
    """
    return draft(command(text, name), world, topology)


def draft(line: CommandLine, world: int | None = None, topology: str | None = None) -> Draft:
    """Return the scenario of flags that have been read; see `read`."""
    devices = world or line.world or (size(topology) if topology else None)
    wrong = list(contradictions(line, devices))
    if wrong:
        raise ScenarioError(in_order(wrong))
    assert devices is not None, "contradictions say so"
    mesh = mesh_of(line, devices)
    keys = [
        *model_keys(line, mesh.tp),
        *step_keys(line, mesh),
        *machine_keys(devices, topology),
        *mesh_keys(line, mesh),
        *experts_of(line, mesh),
    ]
    head = (f"Imported from a command line of {TOOL} by 'tspsim import megatron'; the way back is",
            "'tspsim import megatron --back'.")  # fmt: skip
    return Draft(head, tuple(keys), passed(line, keys))


def passed(line: CommandLine, keys: Sequence[Key]) -> tuple[Passed, ...]:
    """Return the flags that become no key, and why; none is left out."""
    used = {flag for key in keys for flag in key.flags}
    found = []
    for name in line.given:
        flag = line.known[name]
        if flag.fate in ("passed", "unmodelled"):
            found.append((line.text([name]), flag.why, flag.fate == "unmodelled"))
        elif name not in used and name not in _POSITIONS:
            found.append((line.text([name]), "without effect beside the other flags", False))
    return grouped([*found, *_positions(line)])


def _positions(line: CommandLine) -> Iterator[tuple[str, str, bool]]:
    """Yield what becomes of the flags of positions: here they are always rotary."""
    rotary = line.has(_POSITIONS[1]) or line.get(_POSITIONS[0]) == "rope"
    stated = line.text(_POSITIONS)
    why = "a decoder has rotary positions" if rotary else "rotary positions stand in their place"
    yield stated or f"Megatron-LM's default, --{_POSITIONS[0]} learned_absolute", why, not rotary


_POSITIONS = ("position-embedding-type", "use-rotary-position-embeddings")
