"""What is measured: the points of a full and of a quick calibration, and which are held out.

Held out are other sizes, and other strategies and models in blocks: no constant is fitted to
them, they tell the error of the constants that are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tspsim.calibrate.rows import Kind, Use, key

MIB = 2**20
ITEM = 4  # bytes of an fp32 element
COLLECTIVES = (
    "broadcast", "reduce", "all_reduce", "all_gather", "reduce_scatter", "all_to_all", "shift",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Point:
    """A case to be measured.

    Parameters
    ----------
    ranks : int
        Processes that it takes.
    kind, case, use
        As in `tspsim.calibrate.rows.Row`.
    repeats : int
    """

    ranks: int
    kind: Kind
    case: dict[str, Any]
    use: Use
    repeats: int

    @property
    def key(self) -> str:
        """Name of the case, as `Row.key`."""
        return key(self.kind, self.case)


def points(ranks: Sequence[int], cores: int, *, quick: bool) -> list[Point]:
    """Return all points in the order in which they are measured.

    Parameters
    ----------
    ranks : sequence of int
        Rank counts of collectives and blocks; ops are measured on as many ranks as cores.
    cores : int
    quick : bool
        Fewer sizes and repeats.
    """
    together = min(cores, 2)
    found = list(_ops(together, quick=quick))
    for count in ranks:
        found += _collectives(count, quick=quick)
        found += _trials(quick) if count == 2 else ()
        found += _overlaps(count, quick=quick)
        found += _blocks(count, quick=quick)
    return found


# ---- ops -----------------------------------------------------------------------------------------


def _ops(ranks: int, *, quick: bool) -> Iterator[Point]:
    """Yield compute ops; every third is held out."""
    repeats = 5 if quick else 9
    families = (_matmuls(quick=quick), _attentions(quick=quick), _pointwise(quick=quick))
    for family in families:
        for index, case in enumerate(family):
            use: Use = "held_out" if index % 3 == 1 else "fit"
            yield Point(ranks, "op", {"ranks": ranks} | case, use, repeats)


def _matmuls(*, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield matmuls: the three forms of training over tokens and widths of shards."""
    tokens = (128, 512) if quick else (64, 128, 256, 512, 1024, 2048)
    shards = ((256, 256), (512, 704)) if quick else ((256, 64), (512, 128), (512, 352), (1024, 704))
    for m in tokens:
        for k, n in shards:
            yield matmul("nn", m, k, n)
            yield matmul("nt", m, n, k)
            yield matmul("tn", k, m, n)


def matmul(form: str, m: int, k: int, n: int) -> dict[str, Any]:
    """Return a matmul's case: its work is counted as a recorded program counts it."""
    moved = ITEM * (m * k + k * n + m * n)
    case = {"op": "matmul", "form": form, "m": m, "k": k, "n": n}
    return case | {"flops": 2 * m * k * n, "bytes": moved}


def _attentions(*, quick: bool) -> Iterator[dict[str, Any]]:
    sizes = (128, 512) if quick else (64, 128, 256, 512, 1024)
    for op in ("attention", "attention_backward"):
        for queries in sizes:
            for heads in (2, 8):
                yield attention(op, heads, queries, queries, causal=True)
                yield attention(op, heads, queries, 2 * queries, causal=False)


def attention(op: str, heads: int, queries: int, keys: int, *, causal: bool) -> dict[str, Any]:
    """Return the case of an attention core on one tile, with heads of 64."""
    d, batch = 64, 1
    twice = queries * (queries + 1) if causal else 2 * queries * keys
    products = 2 if op == "attention" else 5
    rows = queries * (3 if op == "attention_backward" else 2)
    moved = ITEM * heads * d * batch * (rows + 2 * keys * (2 if op != "attention" else 1))
    sizes = {"batch": batch, "heads": heads, "queries": queries, "keys": keys, "d": d}
    work = {"flops": products * twice * heads * d * batch, "bytes": moved}
    return {"op": op, "causal": causal} | sizes | work


#: Element-wise ops, with the tensors that each reads and writes.
MOVED = {
    "norm": 2, "norm_backward": 4, "gated": 3, "gated_backward": 5, "add": 3, "rotary": 2,
    "reorder": 2,
}  # fmt: skip


def _pointwise(*, quick: bool) -> Iterator[dict[str, Any]]:
    tokens = (256,) if quick else (128, 256, 512, 1024)
    for op, moved in MOVED.items():
        for count in tokens:
            for width in (256, 1024):
                bytes_ = ITEM * moved * count * width
                yield {"op": op, "tokens": count, "width": width, "flops": 0, "bytes": bytes_}


# ---- communication -------------------------------------------------------------------------------


def _collectives(ranks: int, *, quick: bool) -> Iterator[Point]:
    sizes = (0.5, 1, 2) if quick else (0.25, 0.5, 1, 2, 4)
    held = (1,) if quick else (0.5, 2)
    for kind in COLLECTIVES:
        for size in sizes:
            case: dict[str, Any] = {"ranks": ranks, "collective": kind}
            # Divisible by any number of ranks, and by twice that.
            case["bytes"] = int(size * MIB) // (48 * ITEM) * 48 * ITEM
            # Several, as in a block: what a link lets through at once counts less. Not broadcasts,
            # whose root would begin the next one before its message has reached everybody.
            several = max(1, int((1 if quick else 4) / size))
            case["calls"] = 1 if kind == "broadcast" else several
            if kind in ("broadcast", "reduce"):
                case["root"] = 0
            yield Point(ranks, "collective", case, _use(size in held), 5 if quick else 9)


def _trials(quick: bool) -> Iterator[Point]:
    """Yield exchanges of two ranks again, in fresh processes.

    Over its one connection a pair now sends both ways at once, now one after the other, and keeps
    to it as long as its processes live.
    """
    for trial in range(0 if quick else 4):
        for kind in ("shift", "all_gather", "all_to_all"):
            for size in (2, 4):
                case = {"ranks": 2, "collective": kind, "bytes": size * MIB, "calls": 4 // size}
                yield Point(2, "collective", case | {"trial": trial}, _use(size == 2), 5)


def _overlaps(ranks: int, *, quick: bool) -> Iterator[Point]:
    for size in (256,) if quick else (256, 512):
        case = {"ranks": ranks, "size": size, "products": 2 if size > 256 else 8, "bytes": 4 * MIB}
        yield Point(ranks, "overlap", case, "fit", 5 if quick else 9)


def _use(held: bool) -> Use:
    return "held_out" if held else "fit"


# ---- blocks of the reference ---------------------------------------------------------------------


def _blocks(ranks: int, *, quick: bool) -> Iterator[Point]:
    """Yield training steps of one layer; all are held out."""
    small = (512, 512)
    sizes = (small,) if quick else ((256, 1024), small, (512, 1024))
    for hidden, tokens in sizes:
        for options in strategies(ranks):
            case = block(hidden, tokens, ranks, options)
            if (hidden, tokens) == small:
                case["timeline"] = True
            yield Point(ranks, "block", case, "held_out", 3 if quick else 5)


def strategies(ranks: int) -> list[dict[str, Any]]:
    """Return the strategies that are measured on a number of ranks."""
    found: list[dict[str, Any]] = [
        {"kind": "tsp", "degree": ranks},
        {"kind": "tp", "degree": ranks},
    ]
    found += [{"kind": "sp", "degree": ranks, "kv": kv} for kv in ("all_gather", "ring")]
    if ranks >= 4 and ranks % 2 == 0:
        found.append({"kind": "tp_sp", "tp": ranks // 2, "sp": 2})
    return found


def block(hidden: int, tokens: int, ranks: int, strategy: dict[str, Any]) -> dict[str, Any]:
    """Return the case of one layer's training step."""
    model = {"hidden": hidden, "layers": 1, "heads": hidden // 64, "kv_heads": hidden // 64}
    model["ffn"] = hidden * 11 // 4
    return {"ranks": ranks, "strategy": strategy, "model": model, "sequence": tokens}
