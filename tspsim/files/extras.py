"""How to install what a command needs and a plain installation leaves out."""

from __future__ import annotations

import importlib.util
from typing import Literal

from tspsim.files.errors import UserError

Extra = Literal[
    "calibrate", "chakra", "cluster", "frames", "kernels", "parquet", "report", "samples"
]


def need(module: str, extra: Extra, what: str) -> None:
    """Raise unless a module is installed.

    Raises
    ------
    UserError
        It names the command that installs the extra.
    """
    if not _there(module):
        raise UserError(f"{what} needs {module}, which is not installed: {install(extra)}")


def _there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False


def install(extra: Extra) -> str:
    """Return the command that installs an extra.

    It is for the folder of tspsim's sources: under this name no package index has it yet.
    """
    return f"pip install '.[{extra}]'"
