"""The forms of what is known of a profile's errors: of collective calls, and of whole steps."""

from __future__ import annotations

from pydantic import Field, model_validator

from tspsim.kernels import Framework
from tspsim.program.types import CollectiveKind
from tspsim.topology.evidence import Evidence, Residuals
from tspsim.topology.form import Form, problem
from tspsim.topology.whole_steps import StepEvidence


class _Spread(Form):
    """Residuals, as ``log(measured / predicted)``.

    Parameters
    ----------
    rows : int
        That were compared.
    bias, low, high : float
        Their mean, and their quantiles at 10 and 90 %.
    """

    rows: int = Field(ge=1)
    bias: float = Field(allow_inf_nan=False)
    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)

    @model_validator(mode="after")
    def _low_is_low(self) -> _Spread:
        if self.low > self.high:
            raise problem(f"low: {self.low:g} lies above high: {self.high:g}; swap them")
        return self

    def residuals(self) -> Residuals:
        """Return the residuals that this form describes."""
        return Residuals(self.rows, self.bias, self.low, self.high)


class EvidenceForm(_Spread):
    """How far calls of one collective over one span, to which nothing was fitted, were off.

    Parameters
    ----------
    collective, algorithm : str
    ranks, nodes : int
        Members in a node, and nodes.
    """

    collective: CollectiveKind
    algorithm: str
    ranks: int = Field(ge=1)
    nodes: int = Field(default=1, ge=1)

    def value(self) -> Evidence:
        """Return the evidence that this form describes."""
        return Evidence(self.collective, self.algorithm, self.ranks, self.nodes, self.residuals())


class StepEvidenceForm(_Spread):
    """How far predictions of whole steps were off: see `StepEvidence`."""

    framework: Framework
    several: bool
    sources: int = Field(ge=1)
    within: float = Field(ge=0, allow_inf_nan=False)
    experts: bool = False

    def value(self) -> StepEvidence:
        """Return the evidence that this form describes."""
        kind = self.framework, self.several, self.sources
        return StepEvidence(*kind, self.residuals(), self.within, self.experts)
