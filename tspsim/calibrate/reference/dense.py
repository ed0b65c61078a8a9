"""The dense model on one process, by the definition and with autograd: what is to be computed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tspsim.calibrate.reference.config import Job, Shape
from tspsim.calibrate.reference.ops import EPSILON, ROTARY_BASE


def initial(shape: Shape, dtype: torch.dtype = torch.float64, seed: int = 0) -> dict[str, Tensor]:
    """Return random weights by name, such as ``"0.wq"``, [hidden, heads * d]."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*sizes: int, scale: float) -> Tensor:
        return torch.randn(*sizes, generator=generator, dtype=torch.float64).mul_(scale)

    found: dict[str, Tensor] = {}
    for layer in range(shape.layers):
        for name in ("norm1", "norm2"):
            found[f"{layer}.{name}"] = 1 + draw(shape.hidden, scale=0.1)
        for pack in shape.layer().values():
            for name, sizes in pack.items():
                found[f"{layer}.{name}"] = draw(*sizes, scale=sizes[-2] ** -0.5)
    if shape.vocab:
        found["final_norm"] = 1 + draw(shape.hidden, scale=0.1)
        for name in ("embedding", "head"):
            found[name] = draw(shape.vocab, shape.hidden, scale=0.5)
    return {name: value.to(dtype) for name, value in found.items()}


class Dense(nn.Module):
    """The model on one process.

    Parameters
    ----------
    job : Job
        Its recomputation and layout of tokens do not matter here.
    device : str
    """

    def __init__(self, job: Job, device: str = "cpu") -> None:
        super().__init__()
        self.job, self.shape = job, job.shape
        for name, value in initial(job.shape, job.torch_dtype).items():
            parameter = nn.Parameter(torch.empty_like(value, device=device))
            self.register_parameter(name.replace(".", "_"), parameter)

    def load(self, dense: dict[str, Tensor]) -> None:
        """Take weights from a dense model's tensors, by name."""
        with torch.no_grad():
            for name, value in dense.items():
                self[name].copy_(value)

    def __getitem__(self, name: str) -> nn.Parameter:
        """Return a weight by its name."""
        return self.get_parameter(name.replace(".", "_"))

    def flat_parameters(self) -> dict[str, nn.Parameter]:
        """Return all weights by name."""
        return dict(self.named_parameters())

    def step(self, inputs: Tensor, targets: Tensor | None = None) -> Tensor:
        """Run forward and backward; return the loss. `inputs` are token ids where there is a vocab.

        Gradients are left in the parameters (and, without a vocab, in the inputs).
        """
        loss = self.loss(self.hidden(inputs), targets)
        loss.backward()
        return loss.detach()

    def hidden(self, inputs: Tensor) -> Tensor:
        """Return the last layer's output, [batch, sequence, hidden]."""
        x = functional.embedding(inputs, self["embedding"]) if self.shape.vocab else inputs
        for layer in range(self.shape.layers):
            x = x + self._attention(self._norm(x, f"{layer}.norm1"), layer)
            block = self._experts if self.shape.experts else self._mlp
            x = x + block(self._norm(x, f"{layer}.norm2"), layer)
        return x

    def loss(self, y: Tensor, targets: Tensor | None) -> Tensor:
        """Return the mean cross-entropy of the targets, or half the sum of squares."""
        if not self.shape.vocab or targets is None:
            return y.to(self.job.statistics).square().sum() / 2
        logits = self.logits(y).flatten(0, 1).to(self.job.statistics)
        return functional.cross_entropy(logits, targets.flatten().long())

    def logits(self, y: Tensor) -> Tensor:
        """Return the logits of the last layer's output."""
        return self._norm(y, "final_norm") @ self["head"].T

    def _norm(self, x: Tensor, name: str) -> Tensor:
        wide = x.to(self.job.statistics)
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPSILON)
        return (wide * scale).to(x.dtype) * self[name]

    def _rotate(self, x: Tensor) -> Tensor:
        """Turn [batch, sequence, heads, d] by the positions 0, 1, ..."""
        half, wide = x.shape[-1] // 2, self.job.statistics
        frequency = ROTARY_BASE ** -(torch.arange(half, dtype=wide, device=x.device) / half)
        angle = torch.arange(x.shape[1], device=x.device)[:, None, None] * frequency
        a, b = x.to(wide).chunk(2, -1)
        cos, sin = angle.cos(), angle.sin()
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1).to(x.dtype)

    def _attention(self, x: Tensor, layer: int) -> Tensor:
        d = self.shape.d
        q, k, v = ((x @ self[f"{layer}.{w}"]).unflatten(-1, (-1, d)) for w in ("wq", "wk", "wv"))
        q, k, v = (y.transpose(1, 2) for y in (self._rotate(q), self._rotate(k), v))
        o = functional.scaled_dot_product_attention(
            q, k, v, is_causal=self.job.causal != "off", enable_gqa=q.shape[1] != k.shape[1]
        )
        return o.transpose(1, 2).flatten(2) @ self[f"{layer}.wo"]

    def _mlp(self, x: Tensor, layer: int) -> Tensor:
        hidden = functional.silu(x @ self[f"{layer}.gate"]) * (x @ self[f"{layer}.up"])
        return hidden @ self[f"{layer}.down"]

    def _experts(self, x: Tensor, layer: int) -> Tensor:
        """Return the weighted sum of what every token's experts make of it, expert by expert."""
        routes = torch.tensor(self.job.routes, device=x.device)
        scores = (x @ self[f"{layer}.router"]).softmax(-1, self.job.statistics)
        weights = scores.gather(-1, routes)
        weights = (weights / weights.sum(-1, keepdim=True)).to(x.dtype)
        out = torch.zeros_like(x)
        gate, up, down = (self[f"{layer}.expert_{name}"] for name in ("gate", "up", "down"))
        for expert in range(self.shape.experts):
            b, s, slot = (routes == expert).nonzero(as_tuple=True)
            hidden = functional.silu(x[b, s] @ gate[expert]) * (x[b, s] @ up[expert])
            made = weights[b, s, slot, None] * (hidden @ down[expert])
            out = out.index_put((b, s), made, accumulate=True)
        return out
