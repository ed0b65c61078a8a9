"""The dense model on one rank, in plain NumPy: what every strategy has to compute.

Written from the definition of the decoder, without the programs' op kinds: the two must agree.
Gradients are checked against finite differences in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from tspsim.model import ModelShape, Workload
from tspsim.values.dense_core import EPSILON, Core, capped, plain_norm
from tspsim.values.dense_experts import DenseExperts
from tspsim.values.latent import latent_attention
from tspsim.values.routes import Routes
from tspsim.values.tensors import Float, Tensors

ROTARY_BASE = 10000.0


def initial(model: ModelShape, workload: Workload, seed: int = 0) -> Tensors:
    """Return random weights, token ids and inputs of the dense model, by name.

    Parameters
    ----------
    model : ModelShape
    workload : Workload
    seed : int

    Returns
    -------
    dict
        ``"L0.wq"`` [h, heads * d], ``"tokens.0"`` [B, S], ``"input.0"`` [B, S, h], ...
    """
    rng = np.random.default_rng(seed)
    tensors: Tensors = {}
    for layer in range(model.layers):
        for name, shape in layer_shapes(model, layer).items():
            tensors[f"L{layer}.{name}"] = _draw(rng, name, shape)
    if model.vocab:
        for name in ("embedding",) if model.tied else ("embedding", "head"):
            tensors[name] = rng.normal(size=(model.vocab, model.hidden)) * 0.5
        tensors["final_norm"] = _draw(rng, "final_norm", (model.norm_parameters,))
    shape = (workload.batch, workload.sequence)
    for i in range(workload.micro_batches):
        if model.vocab:
            tensors[f"tokens.{i}"] = rng.integers(0, model.vocab, shape)
            tensors[f"targets.{i}"] = rng.integers(0, model.vocab, shape)
        else:
            tensors[f"input.{i}"] = rng.normal(size=(*shape, model.hidden))
    return tensors


def layer_shapes(model: ModelShape, layer: int = 0) -> dict[str, tuple[int, ...]]:
    """Return the shapes of one layer's weights."""
    h, shapes = model.hidden, _attention_shapes(model)
    if (experts := model.experts_in(layer)) is None:
        shapes |= _mlp_shapes(model, "w", model.ffn)
    else:
        shapes |= {"router": (h, experts.count)}
        shapes |= _mlp_shapes(model, "experts", experts.width, experts.count)
        if experts.shared:
            shapes |= _mlp_shapes(model, "shared", experts.shared)
        if experts.shared_gate:
            shapes |= {"shared_scale": (h, 1)}
    biased = [w for w in shapes if adds_bias(model, w)]
    shapes |= {bias_of(w): (*shapes[w][:-2], shapes[w][-1]) for w in biased}
    shapes |= {"sinks": (model.heads,)} if model.sinks else {}
    return shapes | _norm_shapes(model)


def _attention_shapes(model: ModelShape) -> dict[str, tuple[int, ...]]:
    h, q, kv = model.hidden, model.query_width, model.kv_width
    if model.latent is None:
        return {"wq": (h, q), "wk": (h, kv), "wv": (h, kv), "wo": (q, h)}
    norms = {name: (model.norm_elements(w),) for name, w in model.latent.norms.items()}
    return {**model.latent.matrices(h, model.heads), **norms}


def _norm_shapes(model: ModelShape) -> dict[str, tuple[int, ...]]:
    names = ["norm1", "norm2"] * (model.norm_at != "behind")
    names += ["norm1_out", "norm2_out"] * (model.norm_at != "before")
    vectors = model.norm_parameters // model.hidden
    of_heads = zip(("q_norm", "k_norm"), model.qk_norm_widths, strict=True)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(names, (model.norm_parameters,))
    return shapes | {name: (vectors * width,) for name, width in of_heads if width}


def _mlp_shapes(
    model: ModelShape, prefix: str, width: int, *count: int
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an MLP, or of so many stacked."""
    h, ins = model.hidden, ("gate", "up") if model.mlp == "gated" else ("up",)
    into = {f"{prefix}_{name}": (*count, h, width) for name in ins}
    return into | {f"{prefix}_down": (*count, width, h)}


def adds_bias(model: ModelShape, weight: str) -> bool:
    """Whether the product with a weight adds a bias."""
    if weight == "router" or weight.startswith("experts_"):
        return model.experts is not None and model.experts.biases
    if weight in ("wq", "wk", "wv"):
        return model.qkv_bias or model.attention_bias
    return model.attention_bias if weight == "wo" else weight[:2] == "w_" and model.mlp_bias


def bias_of(weight: str) -> str:
    """Return the name of a weight's bias: ``"bq"`` of ``"wq"``, ``"router_bias"``."""
    return f"b{weight[1:]}" if weight[0] == "w" else f"{weight}_bias"


def _draw(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Float:
    if "norm" in name:
        return np.asarray(1 + 0.1 * rng.normal(size=shape))
    return np.asarray(rng.normal(size=shape) / np.sqrt(shape[-2] if len(shape) > 1 else shape[0]))


@dataclass
class Dense:
    """Forward and backward of the dense model.

    Parameters
    ----------
    model : ModelShape
    workload : Workload
    tensors : dict
        As from `initial`.
    routes : dict, optional
        Where tokens go, if there are experts.

    Attributes
    ----------
    loss : float
    gradients : dict
        Gradient of the loss by the name of the weight.
    activations : dict
        ``"output.0"`` and ``"dinput.0"`` of every micro-batch, [B, S, h].
    """

    model: ModelShape
    workload: Workload
    tensors: Tensors
    routes: Routes = field(default_factory=dict)
    loss: float = 0.0
    #: The routers' own losses, which are not in the loss.
    router_losses: float = 0.0
    gradients: Tensors = field(default_factory=dict)
    activations: Tensors = field(default_factory=dict)

    def run(self) -> Dense:
        """Run all micro-batches; return self."""
        for i in range(self.workload.micro_batches):
            self._micro_batch(i)
        return self

    def _add(self, name: str, gradient: Float) -> None:
        self.gradients[name] = self.gradients.get(name, 0.0) + gradient

    def _micro_batch(self, i: int) -> None:
        t, scale = self.tensors, self.model.hidden**0.5 if self.model.scaled_embedding else 1.0
        x = t["embedding"][t[f"tokens.{i}"]] * scale if self.model.vocab else t[f"input.{i}"]
        backs = []
        for layer in range(self.model.layers):
            second = partial(self._second, micro_batch=i)
            attention = self._latent if self.model.latent else self._attention
            for number, inside in enumerate((attention, second), 1):
                x, back = self._block(x, layer, number, inside)
                backs.append(back)
        self.activations[f"output.{i}"] = x
        dx = self._head(x, i) if self.model.vocab else self._objective(x)
        if self.workload.phase == "forward":
            return
        for back in reversed(backs):
            dx = back(dx)
        self.activations[f"dinput.{i}"] = dx
        if self.model.vocab:
            table = np.zeros_like(t["embedding"])
            np.add.at(table, t[f"tokens.{i}"], dx * scale)
            self._add("embedding", table)

    def _objective(self, y: Float) -> Float:
        self.loss += 0.5 * float((y**2).sum())
        return y

    def _head(self, x: Float, i: int) -> Float:
        name = "embedding" if self.model.tied else "head"
        normed, back = self._norm(x, "final_norm")
        logits, slope = capped(normed @ self.tensors[name].T, self.model.logit_cap)
        self.activations[f"logits.{i}"] = logits
        logits = logits - logits.max(-1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        targets = self.tensors[f"targets.{i}"][..., None]
        self.loss -= float(np.take_along_axis(log_p, targets, -1).sum()) / self.workload.tokens
        d = np.exp(log_p)
        np.put_along_axis(d, targets, np.take_along_axis(d, targets, -1) - 1, -1)
        d *= slope / self.workload.tokens
        self._add(name, np.einsum("bsv,bsh->vh", d, normed))
        return np.asarray(back(d @ self.tensors[name]))

    def _norm(self, x: Float, name: str) -> tuple[Float, Any]:
        h, layer_norm = x.shape[-1], self.model.norm == "layernorm"
        w = self.tensors[name]
        centred = x - x.mean(-1, keepdims=True) if layer_norm else x
        deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
        hat = centred / deviation

        def back(dy: Float) -> Float:
            dw = [dy * hat, dy] if layer_norm else [dy * hat]
            self._add(name, np.concatenate([each.reshape(-1, h).sum(0) for each in dw]))
            dhat = dy * w[:h]
            dcentred = (dhat - hat * (dhat * hat).mean(-1, keepdims=True)) / deviation
            mean = dcentred.mean(-1, keepdims=True) if layer_norm else 0.0
            return np.asarray(dcentred - mean)

        return hat * w[:h] + (w[h:] if layer_norm else 0.0), back

    def _block(self, x: Float, layer: int, number: int, inside: Any) -> tuple[Float, Any]:
        """Return the stream behind a block, whose input, output or both have a norm."""
        before, behind = f"L{layer}.norm{number}", f"L{layer}.norm{number}_out"
        normed, before_back = self._norm(x, before) if before in self.tensors else (x, _same)
        y, back = inside(normed, layer)
        out, behind_back = self._norm(y, behind) if behind in self.tensors else (y, _same)
        return x + out, lambda dy: dy + before_back(back(behind_back(dy)))

    def _linear(
        self, x: Float, layer: str, name: str, expert: int | None = None
    ) -> tuple[Float, Any]:
        """Multiply with a weight, or with one expert's of a stack."""
        one = ... if expert is None else expert
        w, adds, bias = self.tensors[layer + name][one], adds_bias(self.model, name), bias_of(name)

        def back(dy: Float) -> Float:
            self._add_at(layer + name, one, np.einsum("bsi,bso->io", x, dy))
            if adds:
                self._add_at(layer + bias, one, dy.sum((0, 1)))
            out: Float = dy @ w.T
            return out

        return x @ w + (self.tensors[layer + bias][one] if adds else 0.0), back

    def _add_at(self, name: str, expert: Any, gradient: Float) -> None:
        """Add the gradient of one expert's weight, or of a weight that is not stacked."""
        whole = np.zeros_like(self.tensors[name])
        whole[expert] = gradient
        self._add(name, whole)

    def _second(self, x: Float, layer: int, micro_batch: int) -> tuple[Float, Any]:
        """Run the block behind attention: an MLP, or experts and those that all tokens go to."""
        experts, p = self.model.experts_in(layer), f"L{layer}."
        if experts is None:
            return self._mlp(x, p, "w")
        weight, add = (lambda name: self.tensors[p + name]), (lambda n, g: self._add(p + n, g))
        expert = partial(self._expert, p)
        route, tokens = self.routes[layer, micro_batch], self.workload.tokens
        mixture = DenseExperts(experts, route, tokens, weight, add, expert)
        out, back = mixture.run(x)
        self.router_losses += mixture.losses
        if not experts.shared:
            return out, back
        more, more_back = self._shared(x, p, gated=experts.shared_gate)
        return out + more, lambda dy: back(dy) + more_back(dy)

    def _shared(self, x: Float, p: str, *, gated: bool) -> tuple[Float, Any]:
        y, y_back = self._mlp(x, p, "shared")
        if not gated:
            return y, y_back
        z, z_back = self._linear(x, p, "shared_scale")
        s = 1 / (1 + np.exp(-z))

        def back(dy: Float) -> Float:
            dz = (dy * y).sum(-1, keepdims=True) * s * (1 - s)
            return np.asarray(y_back(dy * s) + z_back(dz))

        return y * s, back

    def _expert(self, p: str, rows: Float, number: int) -> tuple[Float, Any]:
        """Run one expert's MLP on rows [n, hidden]."""
        out, back = self._mlp(rows[None], p, "experts", number)
        return out[0], lambda dy: back(dy[None])[0]

    def _mlp(self, x: Float, p: str, prefix: str, expert: int | None = None) -> tuple[Float, Any]:
        linear = partial(self._linear, layer=p, expert=expert)
        up, up_back = linear(x, name=f"{prefix}_up")
        gated = self.model.mlp == "gated"
        gate, gate_back = linear(x, name=f"{prefix}_gate") if gated else (up, None)
        gelu = self.model.mlp == "plain" or self.model.gate == "gelu"
        active, slope = _gelu(gate) if gelu else _silu(gate)
        out, down_back = linear(active * up if gated else active, name=f"{prefix}_down")

        def back(dy: Float) -> Float:
            dh = down_back(dy)
            if gate_back:
                return np.asarray(up_back(dh * active) + gate_back(dh * up * slope))
            return np.asarray(up_back(dh * slope))

        return out, back

    def _latent(self, x: Float, layer: int) -> tuple[Float, Any]:
        p = f"L{layer}."
        linear, norm = (
            lambda x, name: self._linear(x, p, name),
            lambda x, name: self._norm(x, p + name),
        )
        mask = self._core(layer).mask(x.shape[1])
        return latent_attention(x, self.model, mask, linear, norm, rotated)

    def _core(self, layer: int) -> Core:
        causal = self.workload.causal != "off"
        return Core(self.model, self.model.kind(layer).window, causal=causal)

    def _rotate(self, x: Float, sign: int) -> Float:
        b, s, _ = x.shape
        heads = x.reshape(b, s, -1, self.model.head_dim)
        turned = self.model.rotary or self.model.head_dim
        first = rotated(heads[..., :turned], sign)
        return np.concatenate([first, heads[..., turned:]], -1).reshape(x.shape)

    def _positioned(self, x: Float, layer: int, which: str) -> tuple[Float, Any]:
        """Return queries or keys with norm and positions, if they have them."""
        positions = self.model.kind(layer).positions
        heads = (*x.shape[:2], -1, self.model.head_dim)
        y, norm_back = x if self.model.qk_norm == "whole" else x.reshape(heads), _same
        if self.model.qk_norm == "plain":
            y, norm_back = plain_norm(y) if positions else (y, _same)
        elif self.model.qk_norm:
            y, norm_back = self._norm(y, f"L{layer}.{which}_norm")

        def back(dy: Float) -> Float:
            turned = self._rotate(dy.reshape(x.shape), -1) if positions else dy
            return np.asarray(norm_back(turned.reshape(y.shape))).reshape(x.shape)

        out = y.reshape(x.shape)
        return self._rotate(out, 1) if positions else out, back

    def _attention(self, x: Float, layer: int) -> tuple[Float, Any]:
        p = f"L{layer}."
        (q, q_back), (k, k_back), (v, v_back) = (self._linear(x, p, n) for n in ("wq", "wk", "wv"))
        (q, q_turn), (k, k_turn) = (
            self._positioned(x, layer, which) for x, which in ((q, "q"), (k, "k"))
        )
        attended, core_back = self._core(layer).attend(q, k, v, self.tensors.get(p + "sinks"))
        out, o_back = self._linear(attended, p, "wo")

        def back(dy: Float) -> Float:
            dq, dk, dv, dsinks = core_back(o_back(dy))
            if self.model.sinks:
                self._add(p + "sinks", dsinks)
            return np.asarray(q_back(q_turn(dq)) + k_back(k_turn(dk)) + v_back(dv))

        return out, back


def _same(x: Float) -> Float:
    return x


def _silu(x: Float) -> tuple[Float, Float]:
    """Return silu of x, and its slope there."""
    s = 1 / (1 + np.exp(-x))
    return x * s, s + x * s * (1 - s)


def _gelu(x: Float) -> tuple[Float, Float]:
    """Return gelu of x in the tanh form, and its slope there."""
    t = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    dinner = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)
    return 0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * dinner


def rotated(heads: Float, sign: int) -> Float:
    """Return [batch, tokens, heads, d], turned by positions of tokens forward (1) or back (-1)."""
    s, half = heads.shape[1], heads.shape[-1] // 2
    frequency = ROTARY_BASE ** (-np.arange(half) / half)
    turn = np.exp(1j * sign * np.arange(s)[:, None] * frequency)[None, :, None, :]
    z = (heads[..., :half] + 1j * heads[..., half:]) * turn
    return np.concatenate([z.real, z.imag], -1)
