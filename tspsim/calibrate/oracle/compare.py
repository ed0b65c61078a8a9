"""The simulator's numbers beside torch's, job by job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tspsim.calibrate.oracle.ask import ask
from tspsim.calibrate.oracle.differences import (
    MemoryDifference,
    MessageDifference,
    memory_differences,
    message_differences,
)
from tspsim.calibrate.oracle.jobs import Job
from tspsim.calibrate.oracle.numbers import Call, Numbers, milestones
from tspsim.calibrate.oracle.simulated import played_peak, simulate


@dataclass(frozen=True, slots=True)
class Report:
    """One job, both sides.

    Parameters
    ----------
    job : Job
    torch, simulated : Numbers
    played : int
        Peak in bytes when the engine plays the step, see `played_peak`.
    messages : tuple of MessageDifference
    memory : tuple of MemoryDifference
        Differences that are explained.
    """

    job: Job
    torch: Numbers
    simulated: Numbers
    played: int
    messages: tuple[MessageDifference, ...]
    memory: tuple[MemoryDifference, ...]

    @property
    def flops_error(self) -> int:
        """Simulated minus counted flops."""
        return self.simulated.flops - self.torch.flops

    @property
    def unexplained_messages(self) -> dict[Call, int]:
        """Calls that the simulator makes more (or, negative, fewer) often, and nobody explains."""
        found = Counter(self.simulated.messages)
        found.subtract(self.torch.messages)
        for call, more, _ in self.messages:
            found[call] -= more
        return {call: count for call, count in found.items() if count}

    @property
    def peak_error(self) -> float:
        """Simulated peak relative to torch's, minus 1."""
        return self.simulated.peak / self.torch.peak - 1

    @property
    def played_error(self) -> float:
        """The engine's peak relative to torch's, minus 1."""
        return self.played / self.torch.peak - 1

    @property
    def at_torch_peak(self) -> tuple[int, int, int]:
        """(flops, torch's bytes, simulated bytes) at the moment of torch's peak."""
        return max(self.gaps, key=lambda gap: gap[1])

    @property
    def unexplained_peak(self) -> float:
        """Simulated and explained bytes at the moment of torch's peak, relative to it, minus 1."""
        _, counted, simulated = self.at_torch_peak
        return (simulated + sum(difference.bytes for difference in self.memory)) / counted - 1

    @property
    def gaps(self) -> list[tuple[int, int, int]]:
        """(flops, torch's bytes, simulated bytes) at every moment that both sides pass."""
        return milestones(self.torch.timeline, self.simulated.timeline)

    @property
    def largest_gap(self) -> tuple[int, int, int]:
        """The moment at which the two memory timelines are furthest apart."""
        return max(self.gaps, key=lambda gap: abs(gap[1] - gap[2]))


def compare(job: Job) -> Report:
    """Return one job's numbers from both sides; torch runs in a process of its own."""
    return compare_all([job])[0]


def compare_all(jobs: Sequence[Job]) -> list[Report]:
    """Return the reports of several jobs, from one torch process.

    Raises
    ------
    UserError
        When torch is not installed, or does not answer.
    """
    return [
        Report(
            job,
            counted,
            simulate(job),
            played_peak(job),
            tuple(message_differences(job)),
            tuple(memory_differences(job)),
        )
        for job, counted in zip(jobs, ask(jobs), strict=True)
    ]
