"""The experts that a Hugging Face ``config.json`` asks for: how many, how wide, in which layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tspsim.files.errors import Problem
from tspsim.files.faults import found

_ACTIVE = "num_experts_per_tok"
_LOSS, _LOSS_IS_ADDED = "router_aux_loss_coef", "output_router_logits"
#: Layers beyond which a number is no model's; who has so many is told that.
_MOST = 20_000


@dataclass(frozen=True, slots=True)
class Names:
    """How the configurations of a type name their experts.

    Parameters
    ----------
    count, width : str
        The keys of how many there are, and of the width of one.
    shared : str
        The key of the width of the shared experts in all; or of how many there are, each as wide
        as `width`, where it says a number of them. Empty: there are none.
    layers : tuple of str
        The keys that say which layers have experts.
    router : Mapping
        Key of ``model.experts.router`` -> what it is where nothing is stated.
    stated : tuple of str
        The keys of the router that a configuration may state.
    more : Mapping
        Further keys of ``model.experts``.
    """

    count: str
    width: str
    shared: str = ""
    layers: tuple[str, ...] = ()
    router: Mapping[str, Any] = field(default_factory=dict)
    stated: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def read(self) -> frozenset[str]:
        """All keys of a configuration that say something of experts."""
        sizes = (self.count, self.width, _ACTIVE, *((self.shared,) if self.shared else ()))
        return frozenset((*sizes, *self.layers, *self.stated, _LOSS, _LOSS_IS_ADDED))


_NORMALISED, _SCALE = "norm_topk_prob", "routed_scaling_factor"
_GROUPS, _TOP_GROUPS, _METHOD, _SCORE = "n_group", "topk_group", "topk_method", "scoring_func"
_STEP, _DENSE_ONES = "decoder_sparse_step", "mlp_only_layers"
_FIRST, _FREQUENCY = "first_k_dense_replace", "moe_layer_freq"
_EVERY, _LISTED = "interleave_moe_layer_step", "moe_layers"

_QWEN = Names(
    "num_experts", "moe_intermediate_size", layers=(_STEP, _DENSE_ONES),
    router={"normalise": False}, stated=(_NORMALISED,),
)  # fmt: skip
_DEEPSEEK_V2 = Names(
    "n_routed_experts", "moe_intermediate_size", "n_shared_experts", (_FIRST, _FREQUENCY),
    router={"normalise": False},
    stated=(_NORMALISED, _SCALE, _GROUPS, _TOP_GROUPS, _METHOD, _SCORE),
)  # fmt: skip

#: By type. What routers do beyond their keys is what their code does in transformers 5.24; which
#: experts tokens go to is the workload's (`workload.routing`).
NAMES = {
    "mixtral": Names("num_local_experts", "intermediate_size"),
    "qwen2_moe": Names(
        _QWEN.count, _QWEN.width, "shared_expert_intermediate_size", _QWEN.layers, _QWEN.router,
        _QWEN.stated, {"shared_gate": True},
    ),
    "qwen3_moe": _QWEN,
    "olmoe": Names(
        "num_experts", "intermediate_size", router={"normalise": False}, stated=(_NORMALISED,)
    ),
    "gpt_oss": Names("num_local_experts", "intermediate_size", more={"biases": True}),
    "llama4_text": Names(
        "num_local_experts", "intermediate_size", "intermediate_size", (_EVERY, _LISTED),
        router={"score": "sigmoid", "normalise": False},
    ),
    "deepseek_v2": _DEEPSEEK_V2,
    **dict.fromkeys(("deepseek_v3", "kimi_k2"), replace(
        _DEEPSEEK_V2, router={"score": "sigmoid", "scale": 2.5, "correction": True}
    )),
    "glm4_moe": replace(_DEEPSEEK_V2, router={"score": "sigmoid", "correction": True}),
}  # fmt: skip


def experts_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of ``model.experts`` that a configuration without `expert_problems` gives."""
    names = NAMES[data["model_type"]]
    sizes = {"count": data[names.count], "active": data[_ACTIVE], "width": data[names.width]}
    shared = (data.get(names.shared) or 0) if names.shared else 0
    times = data[names.width] if names.shared == _DEEPSEEK_V2.shared else 1
    return {
        **sizes,
        "shared": shared * times,
        **names.more,
        **(_pattern(data) or {}),
        "router": {**names.router, **_router(data)},
    }


def expert_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem for every key that says nothing of experts, or something not modelled."""
    problems = list(_form_problems(data))
    yield from problems
    if not problems:
        yield from _number_problems(data)
    if not problems and _is_size(data.get("num_hidden_layers")) and _pattern(data) is None:
        names = NAMES[data["model_type"]]
        stated = [key for key in names.layers if data.get(key) is not None]
        message = "layers with experts, of which every so-manieth has them behind some in front: "
        yield Problem((stated[-1],), f"{message}no other pattern is modelled")


def _form_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield keys that are no numbers, words or lists of the kind that they should be."""
    names = NAMES[data["model_type"]]
    for key in (names.count, _ACTIVE, names.width):
        if not _is_size(data.get(key)):
            yield Problem((key,), f"{found(data.get(key))}; must be a positive integer")
    for key in sorted(names.read & _FORMS.keys()):
        value, (holds, form) = data.get(key), _FORMS[key]
        if value is not None and not holds(value):
            yield Problem((key,), f"{found(value)}; must be null or {form}")
    for key in sorted((names.read & _STATED) - data.keys()):
        yield Problem((key,), f"found nothing; must be null or {_FORMS[key][1]}")


def _number_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield numbers of experts that do not go together."""
    count, active, router = data[NAMES[data["model_type"]].count], data[_ACTIVE], _router(data)
    groups, top = router.get("groups", 1), router.get("top_groups", 1)
    if active > count:
        message = f"found {active}; a token goes to at most all {count} experts"
        yield Problem((_ACTIVE,), message)
    elif count % groups:
        yield Problem((_GROUPS,), f"found {groups}; does not divide {count} experts")
    elif top > groups or active > top * (count // groups):
        least = -(-active // (count // groups))
        message = f"{found(data.get(_TOP_GROUPS))}; {active} active experts lie in {least} to "
        yield Problem((_TOP_GROUPS,), f"{message}{groups} groups")


# ---- which layers --------------------------------------------------------------------------------


def _pattern(data: Mapping[str, Any]) -> dict[str, int] | None:
    """Return which layers have experts, as ``model.experts`` says it; None if it cannot."""
    count, names = min(data["num_hidden_layers"], _MOST), NAMES[data["model_type"]].layers
    stated = {key: data[key] for key in names if data.get(key) is not None}
    said = {k: frozenset(v) if isinstance(v, list) else v for k, v in stated.items()}
    having = [layer for layer in range(count) if _has(said, layer)]
    if not having:
        return None
    first, every = having[0], (having[1] - having[0] if len(having) > 1 else having[0] + 1)
    if having != [n for n in range(first, count) if (n + 1) % every == 0]:
        return None
    return {"first_dense": first if first >= every else 0, "every": every}


def _has(said: Mapping[str, Any], layer: int) -> bool:
    """Whether a layer has experts."""
    if _LISTED in said:
        return layer in said[_LISTED]
    step = said.get(_STEP) or said.get(_EVERY) or 1
    dense = layer < said.get(_FIRST, 0) or layer % said.get(_FREQUENCY, 1)
    return not dense and layer not in said.get(_DENSE_ONES, ()) and (layer + 1) % step == 0


# ---- the router ----------------------------------------------------------------------------------


def _router(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of ``model.experts.router`` that a configuration states."""
    same = {"normalise": _NORMALISED, "scale": _SCALE, "score": _SCORE}
    stated = NAMES[data["model_type"]].stated
    keys = {ours: data[key] for ours, key in same.items() if _gives(data, key, stated)}
    method = data.get(_METHOD) if _METHOD in stated else None
    if method is not None:
        keys["correction"] = method == "noaux_tc"
    if method != "greedy" and _gives(data, _GROUPS, stated):
        keys |= {"groups": data[_GROUPS], "top_groups": data.get(_TOP_GROUPS) or 1}
    if data.get(_LOSS_IS_ADDED):
        keys["balance_loss"] = data.get(_LOSS) or 0.0
    return keys


def _gives(data: Mapping[str, Any], key: str, stated: tuple[str, ...]) -> bool:
    return key in stated and data.get(key) is not None


# ---- what keys may say ---------------------------------------------------------------------------


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_size(value: Any) -> bool:
    return _is_integer(value) and value > 0


def _is_count(value: Any) -> bool:
    return _is_integer(value) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= _MOST and all(map(_is_count, value))


def _one_of(*names: str) -> tuple[Callable[[Any], bool], str]:
    return lambda value: value in names, f"one of {', '.join(names)}"


_SIZE, _COUNT = (_is_size, "a positive integer"), (_is_count, "a number of at least 0")
_BOOLEAN = (lambda value: isinstance(value, bool)), "true or false"
_NUMBER, _LIST = (_is_number, "a number of at least 0"), (_is_list, "a list of layers")

#: Where they are absent some code has none, and other code a default.
_STATED = frozenset({_FIRST, "n_shared_experts", "shared_expert_intermediate_size"})

#: What keys may say beside null.
_FORMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "n_shared_experts": _COUNT, "shared_expert_intermediate_size": _COUNT,
    _NORMALISED: _BOOLEAN, _LOSS_IS_ADDED: _BOOLEAN, _LOSS: _NUMBER,
    _SCALE: ((lambda value: _is_number(value) and value > 0), "a number above 0"),
    _GROUPS: _SIZE, _TOP_GROUPS: _SIZE,
    _METHOD: _one_of("greedy", "group_limited_greedy", "noaux_tc"),
    _SCORE: _one_of("softmax", "sigmoid"),
    _STEP: _SIZE, _EVERY: _SIZE, _FREQUENCY: _SIZE, _FIRST: _COUNT,
    _DENSE_ONES: _LIST, _LISTED: _LIST,
}  # fmt: skip
