"""Families with experts: their configurations are read exactly, or refused by the key."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.differences import check_gradients
from tests.schedules import VARIANTS, title
from tests.test_values import GQA, WORKLOAD, prove
from tspsim.experts import Experts, Router
from tspsim.files.errors import ScenarioError
from tspsim.files.shipped import shipped
from tspsim.files.source import parse, read
from tspsim.kernels import PRESETS
from tspsim.model import ModelShape, Workload
from tspsim.scenario import from_document
from tspsim.scenario.models import read_config
from tspsim.scenario.schema import ModelKeys
from tspsim.values import check

#: Llama 4's attention: a norm without a weight, and no positions in every other layer.
LLAMA4 = replace(GQA, qk_norm="plain", unturned=2)


def config_of(name: str, **keys: Any) -> dict[str, Any]:
    """Return a shipped configuration, with other keys."""
    text = (shipped("models") / name / "config.json").read_text(encoding="utf-8")
    return {**json.loads(text), **keys}


def shape_of(config: dict[str, Any]) -> ModelShape:
    """Return the shape that a configuration describes."""
    keys, _ = read_config(parse(json.dumps(config), "config.json"))
    return ModelKeys.model_validate(keys).value()


def experts_of(name: str, **keys: Any) -> Experts:
    """Return the experts of a shipped configuration with other keys."""
    experts = shape_of(config_of(name, **keys)).experts
    assert experts is not None
    return experts


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [
        ("mixtral-8x7b", 46_702_792_704, 12_879_925_248),
        ("qwen1.5-moe-a2.7b", 14_315_784_192, 2_689_173_504),
        ("qwen3-30b-a3b", 30_532_122_624, 3_353_032_704),
        ("olmoe-1b-7b", 6_919_161_856, 1_282_017_280),
        ("gpt-oss-20b", 20_914_757_184, 4_187_440_704),
        ("gpt-oss-120b", 116_829_156_672, 5_711_982_912),
        ("llama-4-scout", 107_769_861_120, 17_172_894_720),
        ("deepseek-v2-lite", 15_706_484_224, 2_661_150_208),
        ("deepseek-v3", 671_026_419_200, 37_552_297_472),
    ],
)
def test_shipped_models_have_the_published_parameters(name: str, total: int, active: int) -> None:
    """To the last one: totals are those of transformers' own classes built from the file.

    DeepSeek-V3's with its correction, 58 x 256 numbers, which are a buffer there. Active ones, the
    embedding included, round to what the models' pages say (gpt-oss leaves the embedding out).
    """
    keys, _ = read_config(read(shipped("models") / name / "config.json"))
    shape = ModelKeys.model_validate(keys).value()
    assert (shape.parameters, shape.active_parameters) == (total, active)


def test_routers_are_those_of_the_families_code() -> None:
    """What transformers 5.24 does with a router's products, and what the keys say of it."""
    routers = {
        "mixtral-8x7b": Router(),
        "qwen1.5-moe-a2.7b": Router(normalise=False),
        "qwen3-30b-a3b": Router(),
        "olmoe-1b-7b": Router(normalise=False),
        "gpt-oss-20b": Router(),
        "llama-4-scout": Router("sigmoid", normalise=False),
        "deepseek-v2-lite": Router(normalise=False),
        "deepseek-v3": Router("sigmoid", scale=2.5, groups=8, top_groups=4, correction=True),
    }
    assert {name: experts_of(name).router for name in routers} == routers


def test_shared_experts_have_their_width_in_all() -> None:
    """Stated in all, as so many of a width, or as one of the experts' width; with a gate or not."""
    shared = {
        name: (experts_of(name).shared, experts_of(name).shared_gate)
        for name in ("qwen1.5-moe-a2.7b", "deepseek-v2-lite", "deepseek-v3", "llama-4-scout")
    }
    assert list(shared.values()) == [(5632, True), (2816, False), (2048, False), (8192, False)]
    assert experts_of("deepseek-v3", n_shared_experts=None).shared == 0


@pytest.mark.parametrize(
    ("name", "keys", "having"),
    [
        ("qwen3-30b-a3b", {"decoder_sparse_step": 2}, [1, 3, 5]),
        ("qwen3-30b-a3b", {"mlp_only_layers": [0, 1]}, [2, 3, 4, 5]),
        ("qwen3-30b-a3b", {"mlp_only_layers": [0, 2, 4]}, [1, 3, 5]),
        ("qwen3-30b-a3b", {"mlp_only_layers": [1, 0], "decoder_sparse_step": 2}, [3, 5]),
        ("deepseek-v3", {"first_k_dense_replace": 2}, [2, 3, 4, 5]),
        ("deepseek-v3", {"first_k_dense_replace": 5}, [5]),
        ("deepseek-v3", {"first_k_dense_replace": None}, list(range(6))),
        ("llama-4-scout", {"interleave_moe_layer_step": 2}, [1, 3, 5]),
        ("llama-4-scout", {"moe_layers": [2, 5]}, [2, 5]),
        ("llama-4-scout", {"moe_layers": [5]}, [5]),
    ],
)
def test_layers_with_experts_are_those_that_are_stated(
    name: str, keys: dict[str, Any], having: list[int]
) -> None:
    """By a step, by those without, by those in front or one by one."""
    shape = shape_of(config_of(name, num_hidden_layers=6, **keys))
    assert [n for n in range(6) if shape.experts_in(n)] == having


@pytest.mark.parametrize(
    ("name", "keys", "said"),
    [
        ("qwen3-30b-a3b", {"mlp_only_layers": [3]}, "mlp_only_layers: layers with experts, of w"),
        ("qwen3-30b-a3b", {"mlp_only_layers": [*range(48)]}, "mlp_only_layers: layers with exp"),
        ("deepseek-v3", {"moe_layer_freq": 2}, "moe_layer_freq: layers with experts, of which"),
        ("deepseek-v3", {"moe_layer_freq": [0, 1]}, "moe_layer_freq: found a list; must be null"),
        ("llama-4-scout", {"moe_layers": [0, 1, 5]}, "moe_layers: layers with experts, of which"),
        ("llama-4-scout", {"moe_layers": "all"}, "moe_layers: found 'all'; must be null or a list"),
        ("mixtral-8x7b", {"num_local_experts": None}, "num_local_experts: found nothing; must be"),
        ("mixtral-8x7b", {"num_experts_per_tok": 0}, "num_experts_per_tok: found 0; must be a po"),
        ("mixtral-8x7b", {"num_experts_per_tok": 9}, "num_experts_per_tok: found 9; a token goes"),
        ("deepseek-v3", {"n_group": 7}, "n_group: found 7; does not divide 256 experts"),
        ("deepseek-v3", {"topk_group": 9}, "topk_group: found 9; 8 active experts lie in 1 to 8"),
        ("deepseek-v3", {"topk_group": None, "n_group": 64}, "topk_group: found nothing; 8 active"),
        ("mixtral-8x7b", {"router_jitter_noise": 0.1}, "noise on what a router reads: not modell"),
        ("mixtral-8x7b", {"moe_layers": [1]}, "moe_layers: found a list; tspsim does not know"),
        ("olmoe-1b-7b", {"clip_qkv": 8.0}, "clip_qkv: found 8.0 .queries, keys and values that"),
        ("deepseek-v3", {"num_nextn_predict_layers": 1}, "layers that predict further tokens"),
        ("deepseek-v3", {"num_mtp_layers": 1}, "num_mtp_layers: found 1 .layers that predict fu"),
        ("deepseek-v3", {"kv_lora_rank": None}, "kv_lora_rank: found nothing; must be a positive"),
        ("deepseek-v3", {"scoring_func": "tanh"}, "scoring_func: found 'tanh'; must be null or o"),
        ("deepseek-v3", {"topk_method": "best"}, "topk_method: found 'best'; must be null or one"),
        ("deepseek-v3", {"norm_topk_prob": 1}, "norm_topk_prob: found 1; must be null or true or"),
        ("deepseek-v3", {"routed_scaling_factor": 0}, "routed_scaling_factor: found 0; must be n"),
        ("deepseek-v3", {"attention_bias": True}, "attention_bias: found true .biases of attenti"),
        ("gpt-oss-20b", {"quantization_config": {"quant_method": "mxfp4"}}, "quantized weights"),
        (
            "qwen3-30b-a3b",
            {"sliding_window": 9, "use_sliding_window": True},
            "by their layer_types",
        ),
        ("llama-4-scout", {"no_rope_layers": [0, 1, 1]}, "layers without positions that are not"),
        ("llama-4-scout", {"no_rope_layers": 4}, "no_rope_layers: found 4; must be null or a li"),
        ("llama-4-scout", {"use_qk_norm": 1}, "use_qk_norm: found 1; must be null, true or fa"),
        ("llama-4-scout", {"attention_chunk_size": 0}, "attention_chunk_size: found 0; must be a"),
        ("llama-4-scout", {"layer_types": ["x"]}, "layer_types: found a list; must be null or a l"),
        ("llama-4-scout", {"model_type": "llama4"}, "text_config by itself, of type llama4_text"),
    ],
)
def test_what_is_not_modelled_is_refused_by_name(
    name: str, keys: dict[str, Any], said: str
) -> None:
    """With what was found, and what it may be."""
    with pytest.raises(ScenarioError, match=said):
        shape_of(config_of(name, **keys))


def test_a_dense_family_with_experts_is_told_of_the_keys_for_them() -> None:
    """What no family is read for can be written by hand."""
    with pytest.raises(ScenarioError, match=r"not modelled\); null here, and model\.experts"):
        shape_of(config_of("llama-3-8b", num_local_experts=8))


@pytest.mark.parametrize("key", ["first_k_dense_replace", "n_shared_experts"])
def test_what_has_several_defaults_must_be_stated(key: str) -> None:
    """DeepSeek's own code and transformers' differ in them."""
    config = config_of("deepseek-v3")
    del config[key]
    with pytest.raises(ScenarioError, match=f"{key}: found nothing; must be null or a number"):
        shape_of(config)


def test_a_balance_loss_is_there_where_it_is_added() -> None:
    """Transformers adds it where router logits are put out."""
    assert experts_of("mixtral-8x7b").router.balance_loss == 0
    assert experts_of("mixtral-8x7b", output_router_logits=True).router.balance_loss == 0.02


def test_greedy_choice_has_no_groups() -> None:
    """Whatever the keys of groups say."""
    for method, groups in (("greedy", 1), ("group_limited_greedy", 8), ("noaux_tc", 8)):
        router = experts_of("deepseek-v3", topk_method=method).router
        assert (router.groups, router.correction) == (groups, method == "noaux_tc")


def test_gpt_oss_has_windows_in_turn_sinks_and_biases() -> None:
    """A number per head, and biases of the router and of every expert."""
    shape = shape_of(config_of("gpt-oss-20b"))
    assert shape.window == (128, None)
    without = replace(shape, sinks=False, experts=replace(experts_of("gpt-oss-20b"), biases=False))
    biases = 32 + 32 * (2 * 2880 + 2880)
    assert shape.parameters - without.parameters == 24 * (64 + biases)
    met = 32 + 4 * (2 * 2880 + 2880)
    assert shape.active_parameters - without.active_parameters == 24 * (64 + met)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, ("plain", 4, 8192)),
        ({"use_qk_norm": False}, (None, 4, 8192)),
        ({"no_rope_layers": [1, 0] * 24}, ("plain", 2, 8192)),
        ({"no_rope_layers": [1] * 48}, ("plain", None, 8192)),
        ({"no_rope_layer_interval": 3}, ("plain", 3, 8192)),
        ({"attention_chunk_size": None}, ("plain", 4, None)),
        ({"layer_types": ["full_attention"] * 48}, ("plain", 4, None)),
    ],
)
def test_llama4_has_the_attention_that_is_stated(keys: dict[str, Any], expected: Any) -> None:
    """Norms without weights, every fourth layer without positions, and chunks."""
    shape = shape_of(config_of("llama-4-scout", **keys))
    assert (shape.qk_norm, shape.unturned, shape.chunk) == expected


def test_sequences_longer_than_a_chunk_are_refused() -> None:
    """Up to it attention sees all, and is the same."""
    document: dict[str, Any] = {
        "model": {"hf": "llama-4-scout"},
        "workload": {"sequence": 8192},
        "topology": {"file": "h100-node"},
        "strategy": {"kind": "tsp", "degree": 8},
    }
    assert from_document(document).model.chunk == 8192
    with pytest.raises(ScenarioError, match="found 16384; the model attends in chunks of 8192"):
        from_document({**document, "workload": {"sequence": 16384}})
    hand = {**document["model"], "chunk": None}
    from_document({**document, "model": hand, "workload": {"sequence": 16384}})


@pytest.mark.parametrize("name", ["gpt-oss-20b", "llama-4-scout", "deepseek-v2-lite"])
def test_shipped_models_are_proven(name: str) -> None:
    """Small ones of the same structure: a window that is narrow beside the sequence included."""
    proof = check(
        from_document(
            {
                "model": {"hf": name},
                "workload": {"sequence": 4096},
                "topology": {"file": "h100-node", "ranks": 4},
                "strategy": {"kind": "tsp", "degree": 4},
            }
        )
    )
    assert proof.passed


@pytest.mark.parametrize("variant", VARIANTS, ids=title)
def test_llama4s_attention_computes_the_dense_models_numbers(variant: Any) -> None:
    """Norms and positions in one layer, neither in the next; under full recomputation."""
    prove(variant, LLAMA4, replace(WORKLOAD, recompute="full"))


def test_llama4s_attention_in_single_kernels_computes_the_same() -> None:
    """Norms as many ops, and scores that are kept."""
    prove(("tsp", {"degree": 4}), LLAMA4, replace(WORKLOAD, kernels=PRESETS["torch-eager"]))


def test_norms_without_weights_agree_with_finite_differences() -> None:
    """The yardstick: gradients in front of a norm, with and without positions."""
    check_gradients(LLAMA4, Workload(sequence=4, dtype="fp64"))
