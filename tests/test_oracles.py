"""The simulator against torch's own counts, under a fake process group: no hardware, full size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest

from tspsim.calibrate.oracle.compare import Report, compare_all
from tspsim.calibrate.oracle.jobs import Job
from tspsim.calibrate.oracle.suite import DTENSOR

pytest.importorskip("torch", reason="the oracles run torch: pip install 'tspsim[calibrate]'")

#: Grouped queries, two sequences, single precision; nothing of it large.
SMALL = tuple(
    replace(
        job,
        options=(("degree", 4), *job.options[1:]),
        hidden=512,
        heads=16,
        kv_heads=8,
        ffn=1024,
        layers=3,
        sequence=4096,
        batch=2,
        dtype="fp32",
    )
    for job in DTENSOR
)

Reported = Callable[[Job], Report]


@pytest.fixture(scope="module")
def reported() -> Reported:
    """Return what looks up a job's report; torch is started once per suite of jobs."""

    @cache
    def suite(jobs: tuple[Job, ...]) -> dict[Job, Report]:
        return {report.job: report for report in compare_all(jobs)}

    return lambda job: suite(DTENSOR if job in DTENSOR else SMALL)[job]


@pytest.mark.parametrize("job", DTENSOR + SMALL, ids=lambda job: job.title)
class TestDTensor:
    """Torch's own tensor parallelism, which nobody here wrote, against `tp`."""

    def test_flops_are_equal(self, reported: Reported, job: Job) -> None:
        """Not nearly: the same number."""
        assert reported(job).flops_error == 0
        assert reported(job).torch.flops > 0

    def test_messages_are_equal(self, reported: Reported, job: Job) -> None:
        """Every kind and size is sent as often, after the differences that have a name."""
        report = reported(job)
        assert report.unexplained_messages == {}
        assert report.torch.calls

    def test_explained_peak_is_within_a_few_percent(self, reported: Reported, job: Job) -> None:
        """At the moment of torch's peak: the simulator's bytes, and those that have a name."""
        assert abs(reported(job).unexplained_peak) < 0.005


def test_dtensor_peak_is_within_5_percent_as_it_is(reported: Reported) -> None:
    """Without recomputation and with one matrix in: nothing to explain away."""
    (job,) = (
        job
        for job in DTENSOR
        if (job.mlp, job.recompute, job.option("sequence_parallel")) == ("plain", "none", False)
    )
    assert abs(reported(job).peak_error) < 0.05
