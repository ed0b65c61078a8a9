"""How to install what a command needs and a plain installation leaves out."""

from __future__ import annotations

from typing import Literal

Extra = Literal["calibrate", "cluster", "frames", "parquet", "report", "samples"]


def install(extra: Extra) -> str:
    """Return the command that installs an extra.

    It is for the folder of tspsim's sources: under this name no package index has it yet.
    """
    return f"pip install '.[{extra}]'"
