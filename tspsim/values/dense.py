"""The dense model on one rank, in plain NumPy: what every strategy has to compute.

Written from the definition of the decoder, without the programs' op kinds: the two must agree.
Gradients are checked against finite differences in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tspsim.model import ModelShape, Workload
from tspsim.values.latent import latent_attention

Float: TypeAlias = NDArray[np.float64]
Tensors: TypeAlias = dict[str, NDArray[Any]]

EPSILON = 1e-6
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
        for name, shape in layer_shapes(model).items():
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


def layer_shapes(model: ModelShape) -> dict[str, tuple[int, ...]]:
    """Return the shapes of one layer's weights."""
    h, q, kv, f = model.hidden, model.query_width, model.kv_width, model.ffn
    shapes: dict[str, tuple[int, ...]] = {"norm1": (model.norm_parameters,)}
    if model.latent:
        shapes |= model.latent.matrices(h, model.heads)
        shapes |= {n: (model.norm_elements(w),) for n, w in model.latent.norms.items()}
    else:
        shapes |= {"wq": (h, q), "wk": (h, kv), "wv": (h, kv), "wo": (q, h)}
    shapes |= {"norm2": (model.norm_parameters,)}
    if model.mlp == "gated":
        shapes |= {"w_gate": (h, f)}
    shapes |= {"w_up": (h, f), "w_down": (f, h)}
    return shapes | {bias_of(w): shapes[w][1:] for w in shapes if adds_bias(model, w)}


def adds_bias(model: ModelShape, weight: str) -> bool:
    """Whether the product with a weight adds a bias."""
    if weight in ("wq", "wk", "wv"):
        return model.qkv_bias or model.attention_bias
    return model.attention_bias if weight == "wo" else weight[:2] == "w_" and model.mlp_bias


def bias_of(weight: str) -> str:
    """Return the name of a weight's bias: ``"bq"`` of ``"wq"``."""
    return f"b{weight[1:]}"


def _draw(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Float:
    if "norm" in name:
        return np.asarray(1 + 0.1 * rng.normal(size=shape))
    return np.asarray(rng.normal(size=shape) / np.sqrt(shape[0]))


@dataclass
class Dense:
    """Forward and backward of the dense model.

    Parameters
    ----------
    model : ModelShape
    workload : Workload
    tensors : dict
        As from `initial`.

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
    loss: float = 0.0
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
        t = self.tensors
        x = t["embedding"][t[f"tokens.{i}"]] if self.model.vocab else t[f"input.{i}"]
        saved = []
        for layer in range(self.model.layers):
            x, tape = self._layer(x, layer)
            saved.append(tape)
        self.activations[f"output.{i}"] = x
        dx = self._head(x, i) if self.model.vocab else self._objective(x)
        if self.workload.phase == "forward":
            return
        for tape in reversed(saved):
            dx = self._layer_backward(dx, tape)
        self.activations[f"dinput.{i}"] = dx
        if self.model.vocab:
            table = np.zeros_like(t["embedding"])
            np.add.at(table, t[f"tokens.{i}"], dx)
            self._add("embedding", table)

    def _objective(self, y: Float) -> Float:
        self.loss += 0.5 * float((y**2).sum())
        return y

    def _head(self, x: Float, i: int) -> Float:
        name = "embedding" if self.model.tied else "head"
        normed, back = self._norm(x, "final_norm")
        logits = normed @ self.tensors[name].T
        logits -= logits.max(-1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        targets = self.tensors[f"targets.{i}"][..., None]
        self.loss -= float(np.take_along_axis(log_p, targets, -1).sum()) / self.workload.tokens
        d = np.exp(log_p)
        np.put_along_axis(d, targets, np.take_along_axis(d, targets, -1) - 1, -1)
        d /= self.workload.tokens
        self._add(name, np.einsum("bsv,bsh->vh", d, normed))
        return np.asarray(back(d @ self.tensors[name]))

    def _norm(self, x: Float, name: str) -> tuple[Float, Any]:
        h, layer_norm = x.shape[-1], self.model.norm == "layernorm"
        w = self.tensors[name]
        centred = x - x.mean(-1, keepdims=True) if layer_norm else x
        deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
        hat = centred / deviation

        def back(dy: Float) -> Float:
            dw = [np.einsum("bsh,bsh->h", dy, hat)]
            dw += [dy.sum((0, 1))] if layer_norm else []
            self._add(name, np.concatenate(dw))
            dhat = dy * w[:h]
            dcentred = (dhat - hat * (dhat * hat).mean(-1, keepdims=True)) / deviation
            mean = dcentred.mean(-1, keepdims=True) if layer_norm else 0.0
            return np.asarray(dcentred - mean)

        return hat * w[:h] + (w[h:] if layer_norm else 0.0), back

    def _layer(self, x: Float, layer: int) -> tuple[Float, tuple[Any, ...]]:
        normed, norm_back = self._norm(x, f"L{layer}.norm1")
        attend = self._latent if self.model.latent else self._attention
        y, attention_back = attend(normed, layer)
        middle = x + y
        normed2, norm2_back = self._norm(middle, f"L{layer}.norm2")
        z, mlp_back = self._mlp(normed2, layer)
        return middle + z, (norm_back, attention_back, norm2_back, mlp_back)

    def _layer_backward(self, dy: Float, tape: tuple[Any, ...]) -> Float:
        norm_back, attention_back, norm2_back, mlp_back = tape
        dmiddle = dy + norm2_back(mlp_back(dy))
        out: Float = dmiddle + norm_back(attention_back(dmiddle))
        return out

    def _linear(self, layer: str, x: Float, name: str) -> tuple[Float, Any]:
        w, bias = self.tensors[layer + name], layer + bias_of(name)
        adds = adds_bias(self.model, name)

        def back(dy: Float) -> Float:
            self._add(layer + name, np.einsum("bsi,bso->io", x, dy))
            if adds:
                self._add(bias, dy.sum((0, 1)))
            out: Float = dy @ w.T
            return out

        return x @ w + (self.tensors[bias] if adds else 0.0), back

    def _mlp(self, x: Float, layer: int) -> tuple[Float, Any]:
        p = f"L{layer}."
        up, up_back = self._linear(p, x, "w_up")
        if self.model.mlp == "gated":
            gate, gate_back = self._linear(p, x, "w_gate")
            s = 1 / (1 + np.exp(-gate))
            hidden = gate * s * up
        else:
            inner = np.sqrt(2 / np.pi) * (up + 0.044715 * up**3)
            hidden = 0.5 * up * (1 + np.tanh(inner))
        out, down_back = self._linear(p, hidden, "w_down")

        def back(dy: Float) -> Float:
            dh = down_back(dy)
            if self.model.mlp == "gated":
                dgate = dh * up * (s + gate * s * (1 - s))
                return np.asarray(up_back(dh * gate * s) + gate_back(dgate))
            t = np.tanh(inner)
            dinner = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * up**2)
            slope = 0.5 * (1 + t) + 0.5 * up * (1 - t * t) * dinner
            return np.asarray(up_back(dh * slope))

        return out, back

    def _latent(self, x: Float, layer: int) -> tuple[Float, Any]:
        p = f"L{layer}."
        linear, norm = partial(self._linear, p), lambda x, name: self._norm(x, p + name)
        mask = self._mask(x.shape[1])
        return latent_attention(x, self.model, mask, linear, norm, rotated)

    def _mask(self, s: int) -> Float:
        """Return 0 for the pairs that count, and minus infinity for others: (queries, keys)."""
        causal, window = self.workload.causal != "off", self.model.window
        future = np.triu(np.full((s, s), -np.inf), 1) if causal else np.zeros((s, s))
        return future + (np.tril(np.full((s, s), -np.inf), -window) if window else 0.0)

    def _rotate(self, x: Float, sign: int) -> Float:
        b, s, _ = x.shape
        return rotated(x.reshape(b, s, -1, self.model.head_dim), sign).reshape(x.shape)

    def _attention(self, x: Float, layer: int) -> tuple[Float, Any]:
        model, p = self.model, f"L{layer}."
        (q, q_back), (k, k_back), (v, v_back) = (self._linear(p, x, n) for n in ("wq", "wk", "wv"))
        b, s, _ = x.shape
        g, d = model.heads // model.kv_heads, model.head_dim
        qh = self._rotate(q, 1).reshape(b, s, model.kv_heads, g, d)
        kh = self._rotate(k, 1).reshape(b, s, model.kv_heads, d)
        vh = v.reshape(b, s, model.kv_heads, d)
        scores = np.einsum("bqngd,bknd->bngqk", qh, kh) / np.sqrt(d) + self._mask(s)
        a = np.exp(scores - scores.max(-1, keepdims=True))
        a /= a.sum(-1, keepdims=True)
        o = np.einsum("bngqk,bknd->bqngd", a, vh).reshape(b, s, model.query_width)
        out, o_back = self._linear(p, o, "wo")

        def back(dy: Float) -> Float:
            do = o_back(dy).reshape(b, s, model.kv_heads, g, d)
            dv = np.einsum("bngqk,bqngd->bknd", a, do)
            da = np.einsum("bqngd,bknd->bngqk", do, vh)
            ds = a * (da - (da * a).sum(-1, keepdims=True)) / np.sqrt(d)
            dq = np.einsum("bngqk,bknd->bqngd", ds, kh).reshape(q.shape)
            dk = np.einsum("bngqk,bqngd->bknd", ds, qh).reshape(k.shape)
            dx = q_back(self._rotate(dq, -1)) + k_back(self._rotate(dk, -1))
            return np.asarray(dx + v_back(dv.reshape(v.shape)))

        return out, back


def rotated(heads: Float, sign: int) -> Float:
    """Return [batch, tokens, heads, d], turned by positions of tokens forward (1) or back (-1)."""
    s, half = heads.shape[1], heads.shape[-1] // 2
    frequency = ROTARY_BASE ** (-np.arange(half) / half)
    turn = np.exp(1j * sign * np.arange(s)[:, None] * frequency)[None, :, None, :]
    z = (heads[..., :half] + 1j * heads[..., half:]) * turn
    return np.concatenate([z.real, z.imag], -1)
