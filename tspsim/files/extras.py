"""How to install what a command needs and a plain installation leaves out."""

from __future__ import annotations

import importlib.util
from typing import Literal

from tspsim.files.errors import UserError

Extra = Literal["calibrate", "cluster", "frames", "kernels", "parquet", "report", "samples"]


def need(module: str, extra: Extra, what: str) -> None:
    """Raise unless a module is installed.

    Raises
    ------
    UserError
        It names the command that installs the extra.
    """
    if importlib.util.find_spec(module) is None:
        raise UserError(f"{what} needs {module}, which is not installed: {install(extra)}")


def install(extra: Extra) -> str:
    """Return the command that installs an extra.

    It is for the folder of tspsim's sources: under this name no package index has it yet.
    """
    return f"pip install '.[{extra}]'"
