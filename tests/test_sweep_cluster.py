"""A sweep on a real dask cluster: two workers on the loopback, one of which is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tspsim
from tspsim.cli.app import app
from tspsim.files.errors import UserError
from tspsim.sweeps import crew, run
from tspsim.sweeps import study as studies
from tspsim.sweeps.points import points
from tspsim.sweeps.store import Store

distributed = pytest.importorskip("distributed")
# Sockets that a dead worker leaves behind are dask's to mourn, not ours.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")

ROOT = Path(__file__).parent.parent
HOST = "127.0.0.1"
SCENARIO: dict[str, Any] = {
    "name": "spread",
    "model": {"hidden": 256, "layers": 8, "heads": 8, "kv_heads": 4, "ffn": 512, "vocab": 0},
    "workload": {"sequence": 1024, "recompute": "full"},
    "topology": {
        "kind": "ring", "ranks": 4, "device": "h100-sxm",
        "link": {"bandwidth": "50 GB/s", "latency": "1 us"},
    },
    "strategy": {"kind": "tsp", "degree": 4},
}  # fmt: skip
AXES = ("workload.sequence=1024,1001,2048", "link.bandwidth=log(x0.1, x10, 30)")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def _process(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def _worker(address: str) -> subprocess.Popen[bytes]:
    return _process(
        "dask_worker", address, "--host", HOST, "--nthreads", "1", "--no-nanny", "--no-dashboard",
        "--memory-limit", "0",
    )  # fmt: skip


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[Any]]]:
    """Start a scheduler and two workers; give its address and the workers' processes."""
    monkeypatch.chdir(tmp_path)
    address = f"tcp://{HOST}:{_free_port()}"
    scheduler = _process(
        "dask_scheduler", "--host", HOST, "--port", address.rpartition(":")[2], "--no-dashboard",
        "--no-show",
    )  # fmt: skip
    workers = [_worker(address), _worker(address)]
    try:
        with distributed.Client(address, timeout=25, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=25)
        yield address, workers
    finally:
        for process in (*workers, scheduler):
            process.send_signal(signal.SIGKILL)
            process.wait()


def test_a_worker_killed_on_the_way_loses_nothing(
    cluster: tuple[str, list[Any]], tmp_path: Path
) -> None:
    """The other worker plays what the dead one had; the table is that of a run without cluster."""
    address, workers = cluster
    whole = tspsim.sweep(SCENARIO, *AXES)
    axes = [studies.parse_axis(text) for text in AXES]
    study = studies.make(studies.Opened.document(SCENARIO), axes)
    found = points(study)
    store = Store.create(tmp_path / "out", study.document(), len(found), "spread")
    killed: list[int] = []

    def kill_one(done: int, total: int) -> None:
        if total // 3 < done < total and not killed:
            workers[0].kill()
            workers[0].wait()
            killed.append(done)

    run.drive(study, found, store, lambda: crew.Cluster(address), kill_one)
    assert killed
    assert list(store.rows()) == whole.rows
    assert store.statuses() == {"invalid": 30, "ok": 60}
    store.close()
    _the_command_runs_on_the_worker_that_is_left(address, tmp_path)


def _the_command_runs_on_the_worker_that_is_left(address: str, tmp_path: Path) -> None:
    """``--scheduler`` needs nothing of the scenario's files on the workers."""
    (tmp_path / "spread.yaml").write_text(json.dumps({**SCENARIO, "topology": {"file": "r.yaml"}}))
    (tmp_path / "r.yaml").write_text(json.dumps(SCENARIO["topology"]))
    result = CliRunner().invoke(
        app,
        ["sweep", "spread.yaml", "workload.sequence=1024", "strategy.kind=tsp,tp", "-o", "cli",
         "--scheduler", address],
    )  # fmt: skip
    assert (result.exit_code, result.stderr) == (0, "cli: 2 of 2 points: 2 ok\n")


def _told_within(seconds: float, start: Callable[[], Any]) -> str:
    """Return the message of what fails in a thread, which must end in time."""
    told: list[str] = []

    def catch() -> None:
        try:
            start()
        except UserError as error:
            told.append(str(error))

    thread = threading.Thread(target=catch, daemon=True)
    begin = time.monotonic()
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"nothing was said after {time.monotonic() - begin:.1f} s"
    (message,) = told
    return message


def test_a_scheduler_that_does_not_answer_is_told_within_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A port on which nobody listens, and one on which somebody listens and says nothing."""
    assert crew.PATIENCE < 10
    monkeypatch.setattr(crew, "PATIENCE", 2.0)
    nobody = f"tcp://{HOST}:{_free_port()}"
    message = _told_within(10, lambda: crew.Cluster(nobody))
    assert message.startswith(f"no scheduler answers at {nobody}")
    with socket.socket() as silent:
        silent.bind((HOST, 0))
        silent.listen()
        address = f"tcp://{HOST}:{silent.getsockname()[1]}"
        message = _told_within(10, lambda: crew.Cluster(address))
    assert message.startswith(f"no scheduler answers at {address}")
    assert _told_within(10, lambda: crew.Cluster("nonsense://x")).startswith("no scheduler answers")


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError) as caught:
        crew.Cluster("tcp://127.0.0.1:1")
    assert str(caught.value) == (
        "--scheduler needs distributed, which is not installed: pip install '.[cluster]'"
    )
