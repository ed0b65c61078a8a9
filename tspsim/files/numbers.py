"""Numbers as people read them: thousands apart, and never a power of ten."""

from __future__ import annotations

from decimal import Decimal


def plain(value: float, digits: int = 6) -> str:
    """Return a number with at most so many digits that tell.

    Examples
    --------
    >>> plain(1e6), plain(0.00002), plain(1234.5678), plain(1234.5678, 3)
    ('1,000,000', '0.00002', '1,234.57', '1,230')
    """
    return f"{Decimal(f'{value:.{digits}g}'):,f}"
