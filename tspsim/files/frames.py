"""Tables of pandas, for those who have it."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tspsim.files.errors import UserError
from tspsim.files.extras import install

if TYPE_CHECKING:
    import pandas as pd


def frame(rows: Iterable[Sequence[Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Return rows as a table.

    Raises
    ------
    UserError
        When pandas is not installed.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ImportError:
        told = f"a frame needs pandas, which is not installed: {install('frames')}"
        raise UserError(told) from None
    table: pd.DataFrame = pandas.DataFrame(list(rows), columns=list(columns))
    return table
