"""Model shapes: exact parameter counts, and what a config.json means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tspsim.files.errors import ScenarioError
from tspsim.files.shipped import shipped
from tspsim.files.source import parse, read
from tspsim.flops import forward_flops, model_flops, twice_attention_pairs
from tspsim.model import ModelShape, Workload
from tspsim.scenario.models import read_config
from tspsim.scenario.schema import ModelKeys


def shape_of(config: dict[str, Any]) -> ModelShape:
    """Return the shape that a config.json with these keys describes."""
    keys, _ = read_config(parse(json.dumps(config), "config.json"))
    return ModelKeys.model_validate(keys).value()


LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "vocab_size": 256,
}
GPT2 = {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 8, "vocab_size": 256}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("llama-2-7b", 6_738_415_616),
        ("llama-3-8b", 8_030_261_248),
        ("llama-3-70b", 70_553_706_496),
        ("mistral-7b", 7_248_023_552),
        ("qwen2.5-7b", 7_615_616_512),
        ("tsp-paper-7b", 2**33 + 2 * 32 * 4096),
        ("qwen3-8b", 8_190_735_360),
        ("olmo-2-7b", 7_298_617_344),
        ("gemma-2-9b", 9_241_705_984),
        ("gemma-3-27b", 27_009_346_304),
        ("phi-4-mini", 3_836_021_760),
    ],
)
def test_parameter_count_is_the_published_one(name: str, parameters: int) -> None:
    """The counts that the models' own pages state, to the last one."""
    keys, _ = read_config(read(shipped("models") / name / "config.json"))
    assert ModelKeys.model_validate(keys).value().parameters == parameters


def test_gpt3_has_about_175_billion_parameters() -> None:
    """Learned positions are left out: 0.3 % less than the paper's."""
    keys, _ = read_config(read(shipped("models") / "gpt3-175b" / "config.json"))
    assert ModelKeys.model_validate(keys).value().parameters == pytest.approx(175e9, rel=0.003)


def test_key_value_heads_default_to_the_heads() -> None:
    """Without ``num_key_value_heads`` attention is multi-head."""
    assert shape_of(LLAMA).kv_heads == 8
    assert shape_of({**LLAMA, "num_key_value_heads": 2}).kv_heads == 2


def test_head_dim_may_differ_from_hidden_over_heads() -> None:
    """Some models have narrower or wider heads than hidden / heads."""
    assert shape_of(LLAMA).head_dim == 8
    assert shape_of({**LLAMA, "head_dim": 16}).query_width == 128


@pytest.mark.parametrize("model_type", ["llama", "mistral", "qwen2"])
def test_llama_family_is_gated_with_rmsnorm(model_type: str) -> None:
    """Only Qwen2 has biases on query, key and value."""
    shape = shape_of({**LLAMA, "model_type": model_type})
    assert (shape.mlp, shape.norm, shape.tied) == ("gated", "rmsnorm", False)
    assert shape.qkv_bias == (model_type == "qwen2")


def test_gpt2_family_is_plain_with_layernorm_and_tied() -> None:
    """``n_inner`` that is not given means four times the width."""
    shape = shape_of({**GPT2, "n_inner": None})
    assert (shape.mlp, shape.norm, shape.tied, shape.ffn) == ("plain", "layernorm", True, 256)


def test_tied_embeddings_are_counted_once() -> None:
    """The head that uses the embedding's matrix adds no parameters."""
    untied, tied = shape_of(LLAMA), shape_of({**LLAMA, "tie_word_embeddings": True})
    assert untied.parameters - tied.parameters == 256 * 64


@pytest.mark.parametrize("key", sorted(LLAMA.keys() - {"model_type"}))
def test_missing_size_is_told(key: str) -> None:
    """A config.json without one of the sizes is named with the key that it lacks."""
    config = {k: v for k, v in LLAMA.items() if k != key}
    with pytest.raises(ScenarioError, match=rf"{key}: found nothing; must be an integer"):
        shape_of(config)


@pytest.mark.parametrize("key", ["attention_bias", "mlp_bias"])
def test_biases_that_a_family_leaves_out_are_told(key: str) -> None:
    """Mistral's code adds none, whatever is stated: a count with or without them may be wrong."""
    with pytest.raises(ScenarioError, match=rf"{key}: found true .* model.{key}: true"):
        shape_of({**LLAMA, "model_type": "mistral", key: True})


def test_config_with_tabs_is_json_too() -> None:
    """JSON may be indented with tabs, which YAML does not allow."""
    text = json.dumps(LLAMA, indent="\t")
    assert read_config(parse(text, "config.json"))[0]["hidden"] == 64


def test_forward_flops_are_two_per_weight_and_token_and_attention() -> None:
    """By hand: one layer, no vocabulary, no mask."""
    shape = ModelShape(hidden=8, layers=1, heads=2, kv_heads=1, ffn=16)
    work = Workload(sequence=10, causal="off")
    weights = 8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 16
    assert forward_flops(shape, work) == 2 * 10 * weights + 4 * 10 * 10 * 8


def test_causal_mask_counts_half_the_square() -> None:
    """The diagonal counts half: S^2 / 2, and S^2 without a mask."""
    assert twice_attention_pairs(Workload(sequence=10)) == 100
    assert twice_attention_pairs(Workload(sequence=10, causal="off")) == 200


def test_training_counts_three_forwards() -> None:
    """MFU's convention: backward twice forward, recomputation not at all."""
    shape = ModelShape(hidden=8, layers=1, heads=2, kv_heads=1, ffn=16)
    train, forward = Workload(sequence=8, recompute="full"), Workload(sequence=8, phase="forward")
    assert model_flops(shape, train) == 3 * model_flops(shape, forward)
