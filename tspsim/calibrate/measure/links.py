"""Links between ranks: one network namespace per rank, its way out throttled by a token bucket.

All of it lives in namespaces of its own and goes away with the last process in them. Two choices
make times repeatable: a bucket just larger than the largest packet that the kernel hands down (a
smaller one makes it cut packets up, a larger one lets small messages through for free), and a
short send buffer, so that what waits for tokens is not in one long queue.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

#: Bytes that may leave at once.
BURST = 80 * 1024
#: Bytes of a connection that may wait in the sender.
SEND_BUFFER = 128 * 1024

#: Wraps a command into network and mount namespaces of its own.
UNSHARE = ("unshare", "--net", "--mount")


def available() -> bool:
    """Return whether this user may make namespaces with throttled links."""
    tools = all(shutil.which(tool) for tool in ("unshare", "ip", "tc", "mount"))
    if not tools or os.geteuid() != 0:
        return False
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, check=False)  # noqa: S603
    return tried.returncode == 0


def address(rank: int) -> str:
    """Return the address of a rank's namespace."""
    return f"10.99.{rank // 250}.{rank % 250 + 1}"


def commands(ranks: int, rate: float) -> list[list[str]]:
    """Return what makes the links, to be run inside of `UNSHARE`.

    Parameters
    ----------
    ranks : int
    rate : float
        Bits/s that leave a rank; what arrives is not throttled.
    """
    lines = ["mount -t tmpfs none /run", "mkdir /run/netns"]
    lines += ["ip link add br0 type bridge", "ip link set br0 up"]
    for rank in range(ranks):
        lines += [
            f"ip netns add t{rank}",
            f"ip link add h{rank} type veth peer name eth0 netns t{rank}",
            f"ip link set h{rank} master br0 up",
            f"ip -n t{rank} addr add {address(rank)}/16 dev eth0",
            f"ip -n t{rank} link set eth0 up",
            f"ip -n t{rank} link set lo up",
            f"ip netns exec t{rank} tc qdisc add dev eth0 root tbf rate {rate:.0f}bit "
            f"burst {BURST} latency 2s",
        ]
    return [line.split() for line in lines]


def limit_buffers(rank: int) -> None:
    """Shorten the send buffers of a rank's namespace."""
    values = f"4096 {SEND_BUFFER // 2} {SEND_BUFFER}"
    setting = f"net.ipv4.tcp_wmem={values}"
    command = ["ip", "netns", "exec", f"t{rank}", "sysctl", "-qw", setting]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603


def make(ranks: int, rate: float) -> None:
    """Make the links; only inside of `UNSHARE`.

    Raises
    ------
    subprocess.CalledProcessError
        When the kernel refuses one of the commands.
    """
    for command in commands(ranks, rate):
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    for rank in range(ranks):
        limit_buffers(rank)


def inside(rank: int, command: list[str]) -> list[str]:
    """Return a command that runs in a rank's namespace."""
    return ["ip", "netns", "exec", f"t{rank}", *command]


def nicer(command: list[str], *, real_time: bool) -> list[str]:
    """Return a command that goes before other processes, where the user may ask for that."""
    if os.geteuid() != 0:
        return command
    if real_time and shutil.which("chrt"):
        return ["chrt", "--rr", "1", *command]
    return ["nice", "-n", "-15", *command] if shutil.which("nice") else command


def store(folder: Path) -> Path:
    """Return the file in which ranks find each other: no port that could be taken."""
    path = folder / "rendezvous"
    path.unlink(missing_ok=True)
    return path
