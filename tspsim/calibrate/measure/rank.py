"""One rank of a measuring job: ``python -m tspsim.calibrate.measure.rank JOB.json RANK``.

All ranks go through the same points in the same order; rank 0 writes the rows. Clocks of one
machine agree, so a repeat takes from the last rank's start to the last rank's end: a simulated
collective starts when its last member arrives, too.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tspsim.calibrate.measure import blocks, calls, machine, ops, supervise, traced
from tspsim.calibrate.rows import Row, append

#: A repeat of a compute op lasts at least this long: the op is called often enough.
LONG_ENOUGH = 2e-3

Times = list[tuple[float, float]]


class Worker:
    """A rank with its device and its job.

    Parameters
    ----------
    job : dict
    rank : int
    """

    def __init__(self, job: dict[str, Any], rank: int) -> None:
        self.job, self.rank, self.world = job, rank, job["ranks"]
        # Longer than the supervisor waits: it is who says that nothing goes on.
        self.patience = 2 * max(job["timeout"], supervise.MEETING)
        self.device = (
            torch.device("cuda", rank) if torch.cuda.is_available() else torch.device("cpu")
        )
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)  # an op repeated in place must not wander into slow numbers

    def join(self) -> None:
        """Meet the other ranks."""
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        store = dist.FileStore(self.job["store"], self.world)
        dist.init_process_group(
            "nccl" if self.device.type == "cuda" else "gloo", store=store, rank=self.rank,
            world_size=self.world, timeout=timedelta(seconds=self.patience),
        )  # fmt: skip

    def run(self) -> None:
        """Measure all points."""
        for point in self.job["points"]:
            if point["case"].get("fault") and self.rank == self.world - 1:
                fault(point["case"]["fault"])
            started, load = time.time(), machine.load()
            measured = self._undisturbed(point)
            if self.rank == 0:
                row = Row(
                    point["kind"], point["case"], point["use"], load=load, clock=machine.clock(),
                    at=started, **measured,
                )  # fmt: skip
                append(Path(self.job["out"]).parent, [row])
        self.barrier()

    def _undisturbed(self, point: dict[str, Any]) -> dict[str, Any]:
        """Return a measured point, measured again while others take the cores."""
        measure = getattr(self, point["kind"])
        attempts = 0
        while True:
            attempts += 1
            before, own = machine.ticks(), sum(os.times()[:2])
            start = time.perf_counter()
            measured: dict[str, Any] = measure(point["case"], point["repeats"])
            elapsed = time.perf_counter() - start
            ours = sum(self.gathered(sum(os.times()[:2]) - own))
            others = machine.share(before, elapsed, ours)
            others = max(self.gathered(others))  # all ranks decide alike
            if others <= machine.DISTURBED or attempts >= self.job["attempts"]:
                break
        notes = measured.get("notes", {}) | {"others": round(others, 3), "attempts": attempts}
        notes |= {"real_time": True} if self.job["real_time"] else {}
        return measured | {"notes": notes}

    # ---- the four kinds of rows --------------------------------------------------------------

    def op(self, case: dict[str, Any], repeats: int) -> dict[str, Any]:
        """Time a compute op, on all ranks at once, as in a block."""
        run = ops.op(case, self.device)
        count = self._enough(run)

        def many() -> None:
            for _ in range(count):
                run()

        own = [b - a for a, b in self.repeat(many, repeats)]
        mean = torch.tensor(own, device=self.device)
        dist.all_reduce(mean)  # the mean over ranks
        return {"seconds": [s / self.world / count for s in mean.tolist()]}

    def _enough(self, run: ops.Call) -> int:
        """Return how many calls last long enough: the same number on all ranks."""
        run()
        self.sync()
        start = time.perf_counter()
        run()
        self.sync()
        once = torch.tensor([time.perf_counter() - start], device=self.device)
        dist.all_reduce(once, dist.ReduceOp.MAX)
        return max(1, int(LONG_ENOUGH / once.item()))

    def collective(self, case: dict[str, Any], repeats: int) -> dict[str, Any]:
        """Time a collective."""
        run = calls.call(case["collective"], case["bytes"], case.get("root", 0), self.device)
        run()
        count = max(1, case.get("calls", 1))

        def many() -> None:
            for _ in range(count):
                run()

        return {"seconds": [s / count for s in self.together(self.repeat(many, repeats))]}

    def overlap(self, case: dict[str, Any], repeats: int) -> dict[str, Any]:
        """Time matmuls beside a collective that is under way, and without one."""
        size = case["size"]
        a, b = (torch.randn(size, size, device=self.device) for _ in range(2))
        out = torch.empty_like(a)
        message = torch.ones(case["bytes"] // 4, device=self.device)
        beside, alone = [], []
        for _ in range(repeats):
            alone.append(self._products(a, b, out, case["products"]))
            self.barrier()
            work = dist.all_reduce(message, async_op=True)
            beside.append(self._products(a, b, out, case["products"]))
            whole = not work.is_completed()  # it was under way all the time
            work.wait()
            if not whole:
                beside.pop()
        pairs = self.gathered((alone, beside))
        alone = [t for pair in pairs for t in pair[0]]
        beside = [t for pair in pairs for t in pair[1]] or alone
        return {"seconds": beside, "notes": {"alone": statistics.median(alone)}}

    def _products(self, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor, count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            torch.mm(a, b, out=out)
        self.sync()
        return time.perf_counter() - start

    def block(self, case: dict[str, Any], repeats: int) -> dict[str, Any]:
        """Time steps of the reference; one more step is watched op by op."""
        step = blocks.step(case, self.rank, self.device)
        step()
        seconds = self.together(self.repeat(step, repeats))
        if self.job.get("trace"):
            traced.trace(step, self.barrier, case, Path(self.job["trace"]), self.rank)
        if not case.get("timeline"):
            return {"seconds": seconds}
        seen = blocks.watched(step, self.barrier)
        return {"seconds": seconds, "timeline": blocks.aligned(self.gathered(seen))}

    # ---- time --------------------------------------------------------------------------------

    def repeat(self, run: ops.Call, repeats: int) -> Times:
        """Return start and end of every repeat on this rank."""
        times = []
        for _ in range(repeats):
            self.barrier()
            start = time.perf_counter()
            run()
            self.sync()
            times.append((start, time.perf_counter()))
        return times

    def together(self, mine: Times) -> list[float]:
        """Return the seconds of every repeat, from the last start to the last end of all ranks."""
        repeats = zip(*self.gathered(mine), strict=True)
        return [max(b for _, b in ranks) - max(a for a, _ in ranks) for ranks in repeats]

    def gathered(self, value: Any) -> list[Any]:
        """Return every rank's value."""
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        """Wait for all ranks."""
        dist.barrier()

    def sync(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def fault(kind: str) -> None:
    """Fail on purpose, as tests ask for: die, or hang."""
    if kind == "die":
        sys.stderr.write("died on purpose\n")
        sys.stderr.flush()
        os._exit(7)
    time.sleep(3600)


def main() -> None:
    """Run one rank of a job."""
    warnings.simplefilter("ignore", FutureWarning)  # names that newer torch prefers
    path = Path(sys.argv[1])
    job = json.loads(path.read_text(encoding="utf-8"))
    machine.go_first()
    worker = Worker(job, int(sys.argv[2]))
    worker.join()
    (path.parent / supervise.MET).touch()
    worker.run()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
