"""Samples of several spans at once: Latin hypercubes and Sobol sequences."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tspsim.files.arguments import checked
from tspsim.files.bounds import check_whole
from tspsim.files.errors import UserError, did_you_mean
from tspsim.files.extras import install

Method = Literal["latin_hypercube", "sobol"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True, slots=True)
class Sample:
    """How many points to draw from the spans of a study, and how.

    Parameters
    ----------
    method : {"latin_hypercube", "sobol"}
    count : int
    seed : int
        The same seed draws the same points.
    """

    method: Method
    count: int
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that no sample has."""
        check_whole("Sample: count", self.count)
        check_whole("Sample: seed", self.seed, 0)

    def fractions(self, spans: int) -> NDArray[np.float64]:
        """Return numbers between 0 and 1, shape (count, spans).

        A Latin hypercube (McKay, Beckman, Conover 1979) has exactly one point in each of
        `count` equal stretches of every span.

        Raises
        ------
        UserError
            When Sobol sequences are asked for and scipy is not installed.
        """
        if self.method == "sobol":
            return self._sobol(spans)
        draw = np.random.default_rng(self.seed)
        cells = np.stack([draw.permutation(self.count) for _ in range(spans)], axis=1)
        return np.asarray((cells + draw.random(cells.shape)) / self.count, dtype=np.float64)

    def _sobol(self, spans: int) -> NDArray[np.float64]:
        try:
            qmc: Any = importlib.import_module("scipy.stats.qmc")
        except ImportError:
            raise UserError(
                f"Sobol samples need scipy, which is not installed: {install('samples')}, "
                "or take --sample latin_hypercube:N"
            ) from None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # counts that are no power of two
            drawn = qmc.Sobol(spans, rng=self.seed).random(self.count)
        return np.asarray(drawn, dtype=np.float64)


Sample.__init__ = checked(Sample.__init__)  # type: ignore[method-assign]


def read(text: str, seed: int = 0) -> Sample:
    """Return the sample of ``METHOD:COUNT``.

    Raises
    ------
    UserError
        When it is none.
    """
    name, _, count = text.partition(":")
    method = name.strip().replace("-", "_")
    if method not in METHODS:
        known = ", ".join(METHODS)
        guess = did_you_mean(method, METHODS)
        raise UserError(f"--sample {text}: found '{name}'; known: {known}{guess}")
    if not count.strip().isdecimal() or not int(count):
        raise UserError(f"--sample {text}: write METHOD:COUNT, such as {method}:64")
    return Sample(METHODS[METHODS.index(method)], int(count), seed)
