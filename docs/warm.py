"""Runs ``tspsim`` in forks of one process that has imported it: to start it takes a second.

A fork has the arguments, folder, environment and streams of whoever asks, who ends with its exit
code. ``PYTHON docs/warm.py SOCKET`` is the process that is forked.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

#: What commands import that takes long.
WARM = ("matplotlib.figure", "tspsim.output.table", "tspsim.plan.search", "tspsim.sweeps.run")
#: Asks for a fork; Python starts it without its site packages, in a fiftieth of a second.
_CLIENT = """\
import json, os, socket, sys
asked = json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as peer:
    peer.connect(sys.argv[1])
    socket.send_fds(peer, [b"."], [0, 1, 2])
    peer.sendall(asked)
    peer.shutdown(socket.SHUT_WR)
    sys.exit(int(peer.recv(16) or 1))
"""


@cache
def command(path: str) -> str:
    """Return what is ``tspsim`` in a shell, with the package that lies in a folder."""
    folder = tempfile.TemporaryDirectory(prefix="warm")
    place, client = Path(folder.name) / "socket", Path(folder.name) / "client.py"
    client.write_text(_CLIENT, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": path, "MPLBACKEND": "agg"}
    server = subprocess.Popen([sys.executable, __file__, str(place)], env=environment)
    for each in (folder.cleanup, server.wait, server.terminate):  # the last one first
        atexit.register(each)
    while not place.exists():
        if server.poll() is not None:
            raise RuntimeError(f"{__file__} ended with exit code {server.returncode}")
        time.sleep(0.02)
    return f"{sys.executable} -I -S {client} {place}"


def serve(place: str) -> socket.socket:
    """Wait for whoever asks; return, in a fork of their own, how to answer."""
    for name in WARM:
        importlib.import_module(name)
    gc.freeze()
    asker = os.getppid()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{place}.new")
        listening.listen()
        listening.settimeout(5)
        Path(f"{place}.new").rename(place)
        while True:
            try:
                peer, _ = listening.accept()
            except TimeoutError:
                if os.getppid() != asker:  # who started it was killed
                    sys.exit()
                continue
            if not os.fork():
                return peer
            peer.close()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def answer(peer: socket.socket) -> None:
    """Become the command that is asked for, in a fork whose exit code is sent."""
    _, streams, *_ = socket.recv_fds(peer, 1, 3)
    with peer.makefile("rb") as whole:
        arguments, folder, environment = json.load(whole)
    if worker := os.fork():
        _, status = os.waitpid(worker, 0)
        peer.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    peer.close()
    for stream, here in enumerate(streams):
        os.dup2(here, stream)
        os.close(here)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:], sys.path[0] = arguments, folder


if __name__ == "__main__":
    answer(serve(sys.argv[1]))

    from tspsim.cli import main

    main()
