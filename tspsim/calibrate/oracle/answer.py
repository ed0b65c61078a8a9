"""``python -m tspsim.calibrate.oracle.answer``: jobs as JSON in, torch's numbers as JSON out."""

from __future__ import annotations

import json
import sys
import warnings

import torch

from tspsim.calibrate.oracle import dtensor, handwritten
from tspsim.calibrate.oracle.jobs import Job
from tspsim.calibrate.oracle.numbers import Numbers

RUNS = {"dtensor": dtensor.run, "reference": handwritten.run}


def answer(job: Job) -> Numbers:
    """Return torch's numbers of a job."""
    return RUNS[job.source](job)


def main() -> None:
    """Answer what stands on the standard input."""
    warnings.simplefilter("ignore")  # of torch about torch
    torch.set_num_threads(1)
    jobs = [Job.from_dict(job) for job in json.load(sys.stdin)]
    json.dump([answer(job).to_dict() for job in jobs], sys.stdout)


if __name__ == "__main__":
    main()
