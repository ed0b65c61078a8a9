"""Asks torch in a process of its own: its fake world is global, and so is what it imports."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence

from tspsim.calibrate.oracle.jobs import Job
from tspsim.calibrate.oracle.numbers import Numbers
from tspsim.files.errors import UserError
from tspsim.files.extras import install

#: Seconds after which torch is stopped; a job takes one or two.
TIMEOUT = 300


def ask(jobs: Sequence[Job]) -> list[Numbers]:
    """Return torch's numbers of several jobs.

    Raises
    ------
    UserError
        When torch is not installed, or does not answer.
    """
    if importlib.util.find_spec("torch") is None:
        raise UserError(f"the oracles need torch: {install('calibrate')}")
    questions = json.dumps([job.to_dict() for job in jobs])
    command = [sys.executable, "-m", "tspsim.calibrate.oracle.answer"]
    try:
        done = subprocess.run(  # noqa: S603  # this Python, this package
            command, input=questions, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"torch gave no answer within {TIMEOUT} s") from None
    if done.returncode:
        raise UserError(f"torch failed on the oracle's jobs:\n{done.stderr.strip()[-2000:]}")
    return [Numbers.from_dict(answer) for answer in json.loads(done.stdout)]
