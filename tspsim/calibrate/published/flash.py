"""What slower flash kernels reach of the fastest one of a device, by rows of the same shape."""

from __future__ import annotations

from statistics import geometric_mean

from tspsim.calibrate.published.rows import SLOWER, Rows
from tspsim.files.errors import UserError


def factors(rows: Rows, device: str) -> dict[str, float]:
    """Return efficiency of a kernel / that of the fastest, by kernel; of forward, for both passes.

    Raises
    ------
    UserError
        When a slower kernel was measured at no shape of the fastest one.
    """
    found: dict[str, float] = {}
    for (whose, label), name in SLOWER.items():
        if whose != device:
            continue
        slower = [p for p in rows.slower if p.device == device and p.label.startswith(label)]
        fastest = {
            (p.curve, p.place): p.efficiency
            for p in rows.points
            if p.device == device and p.place and not p.together
        }
        pairs = [(p, fastest.get((p.curve, p.place))) for p in slower]
        ratios = [p.efficiency / best for p, best in pairs if best]
        if not ratios:
            raise UserError(f"{device}: no row of {label} has the shape of a row of the fastest")
        found[name] = round(geometric_mean(ratios), 3)
    return found
