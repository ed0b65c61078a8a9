"""One input of the fuzz run: the files are in its folder, the words go on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

#: The scenario of a case, where its class writes one.
SCENARIO = "scenario.yaml"


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked of tspsim.

    Parameters
    ----------
    words : tuple of str
        The command line behind ``tspsim``, to be run in the folder of the case.
    document : Mapping, optional
        The scenario that is run; where that succeeds, its result has to keep the laws.
    """

    words: tuple[str, ...]
    document: Mapping[str, Any] | None = None


#: ``make(rng, folder, bases)`` writes the files of a case into a folder; `bases` is where the real
#: program has written results and sweeps (`tests.fuzzing.bases`).
Maker = Callable[[Random, Path, Path], Case]
