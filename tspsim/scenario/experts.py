"""The keys of a mixture of experts, and of how tokens spread over them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from tspsim.experts import Experts, Router, Score
from tspsim.files.errors import Problem
from tspsim.model import ModelShape
from tspsim.routing import Kind, Routing
from tspsim.scenario.section import MOST, Count, Section

if TYPE_CHECKING:
    from tspsim.scenario.schema import ModelKeys, ScenarioKeys

Coefficient = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Tokens = Annotated[int, Field(ge=0, le=MOST)]
Layer = Annotated[int, Field(ge=0, le=MOST)]
Row = Annotated[tuple[Tokens, ...], Field(strict=False)]


class RouterKeys(Section):
    """``model.experts.router:`` — how much each of a token's experts counts."""

    score: Score = Field("softmax", description="shares of all experts, or each by itself")
    normalise: bool = Field(True, description="a token's weights are divided by their sum")
    scale: float = Field(1.0, gt=0, allow_inf_nan=False, description="and multiplied by this")
    groups: Count = Field(1, description="groups of experts, of which a token goes to some")
    top_groups: Count = Field(1, description="how many of the groups")
    correction: bool = Field(False, description="a number per expert, added to choose alone")
    balance_loss: Coefficient = Field(0.0, description="coefficient of a loss that evens out loads")
    z_loss: Coefficient = Field(0.0, description="coefficient of a loss of large products")


class ExpertsKeys(Section):
    """``model.experts:`` — what layers have instead of the MLP."""

    count: Count = Field(description="experts of a layer")
    active: Count = Field(description="experts that a token goes to")
    width: Count | None = Field(None, description="of one expert's MLP (default: model.ffn)")
    shared: int = Field(
        0, ge=0, le=MOST, description="width, in all, of the experts that all tokens go to"
    )
    shared_gate: bool = Field(False, description="what these give is weighted by a gate")
    first_dense: int = Field(0, ge=0, le=MOST, description="layers in front with an MLP")
    every: Count = Field(1, description="of the others, every so-manieth layer has experts")
    biases: bool = Field(False, description="router and experts add biases")
    router: RouterKeys = RouterKeys()

    def value(self, ffn: int) -> Experts:
        """Return the experts; one is as wide as the MLP where nothing is said."""
        keys = self.model_dump(exclude={"router"}) | {"width": self.width or ffn}
        return Experts(**keys, router=Router(**self.router.model_dump()))


class RoutingKeys(Section):
    """``workload.routing:`` — how tokens spread over experts: a kind's name, or its keys."""

    kind: Kind | None = Field(None, description="default: table where there is one, else balanced")
    exponent: float = Field(
        1.0, ge=0, le=20, allow_inf_nan=False, description="power_law: share of the i-th expert"
    )
    seed: int = Field(0, ge=0, description="power_law: which expert is the i-th, by layer")
    table: Annotated[tuple[Row, ...], Field(strict=False)] = Field(
        (), description="tokens of every expert, a row for every layer with experts, or one for all"
    )
    layers: Annotated[tuple[Layer, ...], Field(strict=False)] | None = Field(
        None, description="of the table's rows, counted from 0 (default: those with experts)"
    )
    file: str | None = Field(
        None, description="a CSV with layer, expert, tokens, or a JSON matrix: holds the table"
    )
    capacity: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None,
        description="an expert takes so many times the mean, and drops the rest (default: all)",
    )

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        return {"kind": data} if isinstance(data, str) else data

    def value(self, model: ModelShape) -> Routing:
        """Return the routing of a model's layers."""
        layers = _with_experts(model)
        rows = self.table * len(layers) if len(self.table) == 1 else self.table
        kind = self.kind or ("table" if self.table else "balanced")
        table = tuple(sorted(zip(self.layers or layers, rows, strict=False)))
        return Routing(kind, self.exponent, self.seed, table, self.capacity)


def _with_experts(model: ModelShape) -> list[int]:
    return [layer for layer in range(model.layers) if model.experts_in(layer)]


def experts_problems(keys: ModelKeys) -> Iterator[Problem]:
    """Yield what is wrong with a model's experts."""
    experts, path = keys.experts, ("model", "experts")
    if experts is None:
        return
    if experts.active > experts.count:
        message = f"found {experts.active}; a token goes to at most all {experts.count} experts"
        yield Problem((*path, "active"), message)
    value = experts.value(keys.ffn)
    if not any(value.in_layer(layer) for layer in range(min(keys.layers, 10**6))):
        message = f"no layer of {keys.layers} has experts: layers from {experts.first_dense} on "
        message += f"with (layer + 1) % {experts.every} == 0 would"
        yield Problem(path, f"{message}; lower first_dense or every")
    if experts.shared_gate and not experts.shared:
        message = "found true; there are no shared experts: set experts.shared to their width"
        yield Problem((*path, "shared_gate"), message)
    groups, top = experts.router.groups, experts.router.top_groups
    if experts.active > experts.count:
        return
    if experts.count % groups:
        message = f"found {groups}; does not divide {experts.count} experts"
        yield Problem((*path, "router", "groups"), message)
    elif top > groups or experts.active > top * (experts.count // groups):
        least = -(-experts.active // (experts.count // groups))
        message = f"found {top}; {experts.active} active experts lie in {least} to {groups} groups"
        yield Problem((*path, "router", "top_groups"), message)


def routing_problems(keys: ScenarioKeys) -> Iterator[Problem]:
    """Yield what is wrong with how tokens spread over experts."""
    routing, experts, path = keys.workload.routing, keys.model.experts, ("workload", "routing")
    if routing is None:
        return
    if experts is None:
        message = "the model has no experts; give it model.experts, or leave this out"
        yield Problem(path, message)
        return
    if (routing.kind == "table") != bool(routing.table) and routing.kind is not None:
        has = "there is a table" if routing.table else "there is no table"
        message = f"found '{routing.kind}', and {has}; leave kind out, or the table"
        yield Problem((*path, "kind"), message)
    yield from _table_problems(keys, routing, experts)


def _table_problems(
    keys: ScenarioKeys, routing: RoutingKeys, experts: ExpertsKeys
) -> Iterator[Problem]:
    path, layers = ("workload", "routing", "table"), _with_experts(keys.model.value())
    if routing.layers is not None and (wrong := list(_layer_problems(routing, layers))):
        yield from wrong
        return
    if routing.table and len(routing.table) not in (1, len(layers)):
        message = f"found {len(routing.table)} rows; {len(layers)} layers have experts: a row each"
        yield Problem(path, f"{message}, or one for all")
        return
    whole = sum(routing.table[0]) if routing.table else 0
    first = f"layer {routing.layers[0]}" if routing.layers else "row 0"
    for number, row in enumerate(routing.table):
        at = (*path, number)
        if len(row) != experts.count:
            message = f"found {len(row)} numbers; the model has {experts.count} experts"
            beyond = (experts.count,) if len(row) > experts.count else ()
            yield Problem((*at, *beyond), f"{message}: the tokens of each")
        elif sum(row) != whole or not whole or whole % experts.active:
            message = f"adds up to {sum(row)}; every row must add up to the same number of tokens "
            yield Problem(at, f"{message}times {experts.active} ({first}: {whole})")
        elif max(row) > whole // experts.active:
            busiest, most = row.index(max(row)), whole // experts.active
            message = f"expert {busiest} gets {max(row)} of {most} tokens"
            yield Problem((*at, busiest), f"{message}; a token goes to an expert once")


def _layer_problems(routing: RoutingKeys, layers: list[int]) -> Iterator[Problem]:
    """Yield layers of a table's rows that have no experts, stand twice, or are not there."""
    path, given = ("workload", "routing", "layers"), routing.layers or ()
    if len(given) != len(routing.table):
        message = f"found {len(given)} layers; the table has {len(routing.table)} rows: one each"
        yield Problem(path, message)
        return
    with_experts = _told(layers)
    for number, layer in enumerate(given):
        if layer not in layers:
            yield Problem((*path, number), f"found {layer}; {with_experts}")
        elif layer in given[:number]:
            yield Problem((*path, number), f"found {layer} again; a layer has one row")
    if missing := [layer for layer in layers if layer not in given]:
        others = f" and {len(missing) - 1} others" if missing[1:] else ""
        yield Problem(path, f"found no row of layer {missing[0]}{others}; {with_experts}")


def _told(layers: list[int]) -> str:
    """Return ``"layers 1 to 26 have experts, counted from 0"``."""
    first, last = layers[0], layers[-1]
    gap = layers != list(range(first, last + 1))
    told = f"{', '.join(map(str, layers[:3]))}... to {last}" if gap else f"{first} to {last}"
    return f"layers {told} have experts, counted from 0: a row each"
