"""The contract of a strategy: what must hold of it, whatever it is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

from tspsim import memory
from tspsim.engine.checks import dryrun
from tspsim.engine.checks.bounds import bounds
from tspsim.engine.simulate import Setup, simulate
from tspsim.engine.timeline import Timeline
from tspsim.files.errors import ScheduleError
from tspsim.model import ModelShape, Recompute, Workload
from tspsim.strategies.base import StrategyOptions
from tspsim.testing.case import MODEL, WORKLOAD, Case, case
from tspsim.testing.mutate import Forgotten, forgettable, without
from tspsim.topology.graph import Topology
from tspsim.topology.load import load
from tspsim.values import compare

#: What of a phase, a label and a kind is read by nobody, as ``(kind, label, phase)``.
Unread = Collection[tuple[str, str, str]]

#: Relative difference of times that rounding explains.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold; calling it raises `AssertionError` where it does not."""

    name: str
    _run: Callable[[], None]

    def __call__(self) -> None:
        """Raise `AssertionError` where it does not hold."""
        self._run()

    def __str__(self) -> str:
        return self.name


def contract(
    kind: str | type[StrategyOptions],
    options: Mapping[str, Any] | None = None,
    model: ModelShape = MODEL,
    workload: Workload = WORKLOAD,
    *,
    unread: Unread = (),
) -> list[Check]:
    """Return the checks of a strategy with some options.

    Parameters
    ----------
    kind, options, model, workload
        As of `tspsim.testing.case`.
    unread : collection of (str, str, str)
        Kind, label and phase of what no value depends on, and may be left out unnoticed: the last
        sum of a whole forward that is run again, say.

    Returns
    -------
    list of Check
        Named for pytest's ``ids=str``.
    """
    made = case(kind, options, model, workload)
    return list(_checks(made, frozenset(unread)))


def _checks(made: Case, unread: frozenset[tuple[str, str, str]]) -> Iterator[Check]:
    for recompute in get_args(Recompute):
        again = made.but(recompute=recompute)
        yield Check(f"values-recompute-{recompute}", partial(check_values, again))
    yield Check("values-forward", partial(check_values, made.but(phase="forward")))
    for zero in (0, 1, 2, 3):
        two = made.replicated(dp=2, zero=zero, **({"bucket": 1024.0} if zero < 3 else {}))
        yield Check(f"values-replicas-zero-{zero}", partial(check_values, two))
    yield Check("calls-meet", partial(check_calls, made))
    yield Check("nothing-can-be-forgotten", partial(check_mutations, made, unread))
    yield Check("nothing-can-be-forgotten-zero-3", partial(check_sharing_mutations, made, unread))
    yield Check("folded-is-unfolded", partial(check_folds, made.replicated(dp=4)))
    yield Check("step-within-bounds", partial(check_bounds, made))


def check_values(made: Case) -> None:
    """Assert that loss, output, input gradient and every weight gradient are the dense model's."""
    proof = compare(made.programs, made.mesh, made.model, made.workload)
    wrong = [c for c in proof.comparisons if not c.passed]
    told = "; ".join(f"{c.tensor} by {c.error:.1e} on {c.ranks} ranks" for c in wrong)
    assert proof.comparisons, "nothing is compared: no tensor is bound or probed"
    assert not wrong, f"{len(wrong)} of {len(proof.comparisons)} tensors differ: {told}"


def check_calls(made: Case) -> None:
    """Assert that every call meets its counterparts, and that all can end."""
    try:
        dryrun.check(made.programs, made.mesh)
    except ScheduleError as error:
        raise AssertionError(str(error)) from None


def check_mutations(made: Case, unread: frozenset[tuple[str, str, str]]) -> None:
    """Assert that leaving out any one call, or any one reordering, makes some value wrong."""
    _check_noticed(made, forgettable(made.programs), unread)


def check_sharing_mutations(made: Case, unread: frozenset[tuple[str, str, str]]) -> None:
    """Assert the same of what replicas that share their weights say beside all that."""
    cut = made.replicated(dp=2, zero=3)
    known = set(forgettable(made.programs))
    _check_noticed(cut, [v for v in forgettable(cut.programs) if v not in known], unread)


def _check_noticed(
    made: Case, victims: Iterable[Forgotten], unread: frozenset[tuple[str, str, str]]
) -> None:
    unnoticed = [
        victim
        for victim in victims
        if (victim.kind, victim.label, victim.phase) not in unread
        and compare(without(made.programs, victim), made.mesh, made.model, made.workload).passed
    ]
    assert not unnoticed, f"left out unnoticed: {'; '.join(map(str, unnoticed))}"


def check_folds(made: Case) -> None:
    """Assert that ranks that are folded have the times and peaks that they have when all play."""
    folded, whole = (_played(made, folds=folds) for folds in (True, False))
    for rank in range(made.mesh.ranks):
        ends = zip(folded.end[rank].tolist(), whole.end[rank].tolist(), strict=True)
        apart = [op for op, (a, b) in enumerate(ends) if abs(a - b) > _ROUNDING * max(a, b)]
        names = [whole.programs.of(rank).ops[op].name for op in apart[:3]]
        assert not apart, f"rank {rank} ends {len(apart)} ops at other times: {', '.join(names)}"
    peaks = [[m.peak for m in memory.trace(t).ranks] for t in (folded, whole)]
    assert peaks[0] == peaks[1], f"folded peaks {peaks[0]}, unfolded {peaks[1]}"


def check_bounds(made: Case) -> None:
    """Assert that a step is no shorter than its longest path, no longer than all of it."""
    found = bounds(made.programs, made.mesh, _fabric(made.mesh.ranks), "bf16")
    step = _played(made, folds=True).step_time
    least, most = found.lower * (1 - _ROUNDING), found.sum * (1 + _ROUNDING)
    assert least <= step <= most, f"a step of {step} s is not within {least} and {most} s"


def _played(made: Case, *, folds: bool) -> Timeline:
    ranks = made.mesh.ranks
    return simulate(Setup(made.programs, made.mesh, _fabric(ranks), "bf16", folds=folds))


def _fabric(ranks: int) -> Topology:
    link = {"bandwidth": "50 GB/s", "latency": "1 us"}
    return load({"kind": "switch", "ranks": ranks, "link": link, "device": "h100-sxm"})
