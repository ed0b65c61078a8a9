"""``model:`` of a command line of Megatron-LM."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from tspsim.scenario.interop.command_line import CommandLine
from tspsim.scenario.interop.draft import Key
from tspsim.scenario.interop.flags import whole

#: Layers of a pattern at most, and stages of a pipeline.
MOST = 16384


def key(line: CommandLine, path: str, value: Any, *flags: str, note: str = "") -> Key:
    """Return a key of the scenario, and the flags that say it.

    Where none of them is given, it is Megatron-LM's default.
    """
    origin = line.text(flags)
    place = next((line.given[flag].place for flag in flags if line.has(flag)), "")
    default = "Megatron-LM's default" if flags and not origin else ""
    told = "; ".join(filter(None, (default, note)))
    return Key(tuple(path.split(".")), value, origin, place, told, flags)


def model_keys(line: CommandLine, tp: int) -> Iterator[Key]:
    """Yield the keys of ``model:`` but its experts."""
    yield key(line, "model.hidden", line.get("hidden-size"), "hidden-size")
    yield key(line, "model.layers", line.get("num-layers"), "num-layers")
    yield key(line, "model.heads", line.get("num-attention-heads"), "num-attention-heads")
    if not line.get("multi-latent-attention"):
        kv, flags = kv_heads(line), ("group-query-attention", "num-query-groups")
        yield key(line, "model.kv_heads", kv, *flags)
        if line.has("kv-channels"):
            yield key(line, "model.head_dim", line.get("kv-channels"), "kv-channels")
    yield key(line, "model.ffn", ffn(line), "ffn-hidden-size")
    yield _vocabulary(line, tp)
    yield from _mlp(line)
    yield key(line, "model.norm", norm(line), "normalization")
    untied = line.has("untie-embeddings-and-output-weights")
    yield key(line, "model.tied", not untied, "untie-embeddings-and-output-weights")
    yield from _biases(line)
    yield from _attention(line)


def kv_heads(line: CommandLine) -> int:
    """Return how many key/value heads there are."""
    grouped = line.get("group-query-attention")
    return int(line.get("num-query-groups" if grouped else "num-attention-heads"))


def ffn(line: CommandLine) -> int:
    """Return the width of the MLP; where it is not stated, Megatron-LM's rule."""
    if line.has("ffn-hidden-size"):
        return int(line.get("ffn-hidden-size"))
    hidden = int(line.get("hidden-size"))
    return int(4 * hidden * 2 / 3 / 64) * 64 if line.has("swiglu") else 4 * hidden


def norm(line: CommandLine) -> str:
    """Return the kind of norm."""
    return str(line.get("normalization")).lower()


def padded(vocab: int, divisor: int, tp: int) -> int:
    """Return a vocabulary as Megatron-LM pads it: a multiple of the divisor on every rank."""
    return -(-vocab // (divisor * tp)) * divisor * tp


def _vocabulary(line: CommandLine, tp: int) -> Key:
    if line.has("padded-vocab-size"):
        size = line.get("padded-vocab-size")
        return key(line, "model.vocab", size, "padded-vocab-size", "vocab-size")
    divisor = line.get("make-vocab-size-divisible-by")
    flags = ("vocab-size", "make-vocab-size-divisible-by")
    size = padded(line.get("vocab-size"), divisor, tp)
    return key(line, "model.vocab", size, *flags, note=f"padded to a multiple of {divisor} x {tp}")


def _mlp(line: CommandLine) -> Iterator[Key]:
    gated = line.has("swiglu") or line.has("quick-geglu")
    yield key(line, "model.mlp", "gated" if gated else "plain", "swiglu", "quick-geglu")
    if line.has("quick-geglu"):
        yield key(line, "model.gate", "gelu", "quick-geglu")


def _biases(line: CommandLine) -> Iterator[Key]:
    biases, qkv = not line.has("disable-bias-linear"), line.has("add-qkv-bias")
    for name in ("attention_bias", "mlp_bias"):
        yield key(line, f"model.{name}", biases, "disable-bias-linear")
    if qkv and not biases:
        yield key(line, "model.qkv_bias", True, "add-qkv-bias")


def _attention(line: CommandLine) -> Iterator[Key]:
    if line.has("multi-latent-attention"):
        yield from _latent(line)
    elif line.has("qk-layernorm"):
        yield key(line, "model.qk_norm", "head", "qk-layernorm")
    if line.has("qk-l2-norm"):
        yield key(line, "model.qk_norm", "plain", "qk-l2-norm")
    if line.has("window-size"):
        flags = ("window-size", "window-attn-skip-freq")
        yield key(line, "model.window", window(line), *flags)
    if line.get("softmax-type") != "vanilla":
        yield key(line, "model.sinks", True, "softmax-type")
    if line.get("rotary-percent") != 1:
        head = line.get("kv-channels") or line.get("hidden-size") // line.get("num-attention-heads")
        turned = int(head * line.get("rotary-percent"))
        yield key(line, "model.rotary", turned, "rotary-percent")
    if line.has("no-rope-freq"):
        yield key(line, "model.unturned", int(line.get("no-rope-freq")), "no-rope-freq")


def _latent(line: CommandLine) -> Iterator[Key]:
    widths = {
        "kv_rank": "kv-lora-rank", "nope": "qk-head-dim", "rope": "qk-pos-emb-head-dim",
        "value": "v-head-dim", "q_rank": "q-lora-rank",
    }  # fmt: skip
    for ours, theirs in widths.items():
        if line.get(theirs) is not None:
            more = ("multi-latent-attention", "qk-layernorm") if ours == "kv_rank" else ()
            yield key(line, f"model.latent.{ours}", line.get(theirs), theirs, *more)


def window(line: CommandLine) -> int | list[int | None] | None:
    """Return the keys that a query sees; None where the flags say none that is modelled."""
    before, _, behind = line.get("window-size").strip("()").replace(" ", "").partition(",")
    left, every = whole(before), line.get("window-attn-skip-freq")
    if left is None or left < 0 or behind != "0":
        return None
    keys = left + 1
    if every is None:
        return keys
    if 1 < (whole(every) or 0) <= MOST:
        return [*[keys] * (int(every) - 1), None]
    layers = pattern(every)
    return None if layers is None else [keys if each else None for each in layers]


def pattern(text: str) -> list[int] | None:
    """Return a list that is written as ``([0]*3+[1]*2)*4``; None where it is no such list."""
    try:
        found = _evaluated(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    fine = isinstance(found, list) and found and all(each in (0, 1) for each in found)
    return found if fine else None


def _evaluated(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.List):
        return [_evaluated(each) for each in node.elts]
    if not isinstance(node, ast.BinOp):
        raise ValueError
    left, right = _evaluated(node.left), _evaluated(node.right)
    if isinstance(node.op, ast.Add) and isinstance(left, list) and isinstance(right, list):
        return left + right
    times = isinstance(node.op, ast.Mult) and isinstance(left, list) and isinstance(right, int)
    if times and len(left) * right <= MOST:
        return left * right
    raise ValueError
