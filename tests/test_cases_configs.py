"""Published configurations of models, as people load them: read exactly, or refused by the key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tspsim.files.errors import ScenarioError
from tspsim.files.source import parse, read
from tspsim.model import ModelShape
from tspsim.scenario.models import read_config
from tspsim.scenario.schema import ModelKeys

CASES = Path(__file__).parent / "data" / "cases"
#: Sizes of a model of the Llama family; a case adds the key that it is about.
LLAMA = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4,
    "num_attention_heads": 8, "vocab_size": 256,
}  # fmt: skip


def shape_of(config: dict[str, Any]) -> ModelShape:
    """Return the shape that a config.json with these keys describes."""
    keys, _ = read_config(parse(json.dumps(config), "config.json"))
    return ModelKeys.model_validate(keys).value()


@pytest.mark.parametrize(
    ("name", "parameters", "window"),
    [
        ("gemma-2-9b", 9_241_705_984, (4096, None)),
        ("llama-1-7b-noKV", 6_738_415_616, None),
        ("llama-3.1-405b", 405_853_388_800, None),
        ("llama-3.2-1b", 1_235_814_400, None),
        ("mistral-7b-v0.1", 7_241_732_096, 4096),
        ("mistral-nemo-12b", 12_247_782_400, None),
        ("mixtral-8x7b", 46_702_792_704, None),
        ("olmo-2-7b", 7_298_617_344, None),
        ("phi-3-mini", 3_821_079_552, 2047),
        ("qwen2.5-0.5b", 494_032_768, None),
        ("qwen2.5-14b", 14_770_033_664, None),
        ("qwen3-8b", 8_190_735_360, None),
        ("smollm2-135m", 134_515_008, None),
        ("yi-34b", 34_388_917_248, None),
    ],
)
def test_a_published_configuration_has_the_published_parameters(
    name: str, parameters: int, window: int | tuple[int | None, ...] | None
) -> None:
    """To the last one, as its page counts them; and every layer has its window."""
    keys, _ = read_config(read(CASES / "hf" / f"{name}.json"))
    shape = ModelKeys.model_validate(keys).value()
    assert (shape.parameters, shape.window) == (parameters, window)


@pytest.mark.parametrize(
    ("name", "parameters"), [("gpt2", 124_439_808), ("gpt2-large", 774_030_080)]
)
def test_gpt2_lacks_its_learned_positions_alone(name: str, parameters: int) -> None:
    """As models/README says: with their table the count is the published one."""
    keys, _ = read_config(read(CASES / "hf" / f"{name}.json"))
    shape = ModelKeys.model_validate(keys).value()
    assert shape.parameters + 1024 * shape.hidden == parameters


def test_a_llama_with_biases_has_those_that_its_configuration_states() -> None:
    """InternLM's attention adds them in all four projections, its MLP in none."""
    keys, _ = read_config(read(CASES / "hf" / "internlm-llama-bias.json"))
    shape = ModelKeys.model_validate(keys).value()
    assert (shape.attention_bias, shape.mlp_bias, shape.biases) == (True, False, 4 * 4096)
    both = shape_of({**LLAMA, "attention_bias": True, "mlp_bias": True})
    assert both.biases == 4 * 64 + 2 * 128 + 64


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("deepseek-v3", ["num_nextn_predict_layers", "quantization_config"]),
        ("gemma-3-4b", ["model_type", "text_config"]),
    ],
)
def test_a_configuration_of_another_kind_is_refused_by_the_keys_that_make_it_so(
    name: str, keys: list[str]
) -> None:
    """Each with its place in the file, and no other key."""
    with pytest.raises(ScenarioError) as caught:
        read_config(read(CASES / "hf" / f"{name}.json", "config.json"))
    told = [line.split(": ") for line in caught.value.lines]
    assert sorted(line[1] for line in told) == sorted(keys)
    assert all(line[0].startswith("config.json:") for line in told)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("num_local_experts", 8, r"found 8 \(a mixture of experts: not modelled\)"),
        ("attn_logit_softcapping", 50.0, r"a soft cap of the attention's scores"),
        ("layer_types", ["full_attention", "linear_attention"], "found linear_attention; layers"),
        ("use_qk_norm", True, "norms of queries and keys"),
        ("use_bias", True, "model.attention_bias: true and model.mlp_bias: true"),
        ("partial_rotary_factor", 0.5, "null here, and model.rotary"),
        ("hidden_act", "relu", "found 'relu'"),
        ("hidden_act", "gelu", "model.gate: gelu"),
        ("use_bidirectional_attention", True, "attention to what comes after"),
        ("clip_qkv", 8.0, "clipped"),
        ("attention_dropout", 0.1, "kernels.dropout"),
        ("quantization_config", {"bits": 4}, "quantized weights"),
        ("embedding_multiplier", 12, "does not know what it changes"),
        ("sliding_window", "4096", "must be a positive integer or null"),
        ("sliding_window", 0, "must be a positive integer or null"),
        ("use_sliding_window", 1, "must be true or false"),
    ],
)
def test_a_key_that_changes_the_work_is_refused_by_name(key: str, value: Any, said: str) -> None:
    """In a model of a family that is known; without it, or with null, the model is read."""
    with pytest.raises(ScenarioError, match=rf"{key}: .*{said}"):
        shape_of({**LLAMA, key: value})
    assert shape_of({**LLAMA, key: None}) == shape_of(LLAMA)


def test_keys_that_change_no_work_are_passed_over() -> None:
    """What configurations of checkpoints hold beside their sizes."""
    harmless = {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 1, "eos_token_id": [2, 3], "hidden_act": "silu", "mlp_bias": False,
        "initializer_range": 0.02, "max_position_embeddings": 8192, "pretraining_tp": 1,
        "rms_norm_eps": 1e-5, "rope_scaling": {"factor": 8.0}, "rope_theta": 5e5,
        "torch_dtype": "bfloat16", "transformers_version": "4.43.0", "use_cache": True,
        "is_llama_config": True, "use_mrope": False,
    }  # fmt: skip
    assert shape_of({**LLAMA, **harmless}) == shape_of(LLAMA)


Windows = int | tuple[int | None, ...] | None
SLIDING, FULL = "sliding_attention", "full_attention"
ROPE: dict[str, Any] = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}


@pytest.mark.parametrize("place", ["rope_parameters", "rope_scaling"])
@pytest.mark.parametrize(
    ("rope", "said"),
    [
        ({**ROPE, "partial_rotary_factor": 0.5}, r"partial_rotary_factor: found 0.5 \(rotary pos"),
        ({**ROPE, "mrope_section": [16, 24, 24]}, "mrope_section: found a list; tspsim does not"),
        ({"rope_type": "mrope"}, "rope_type: found 'mrope'; must be null or one of default"),
        ({"type": "linaer"}, r"type: found 'linaer'.*did you mean 'linear'"),
        ({FULL: ROPE, SLIDING: {"partial_rotary_factor": 0}}, rf"{SLIDING}.partial_rotary_factor"),
        ([8.0], "found a list; must be an object or null"),
    ],
)
def test_rotary_positions_of_another_kind_are_refused_by_name(
    place: str, rope: Any, said: str
) -> None:
    """Wherever transformers has put them: at the key within the object."""
    with pytest.raises(ScenarioError, match=rf"{place}.*{said}") as caught:
        shape_of({**LLAMA, place: rope})
    assert len(caught.value.lines) == 1


@pytest.mark.parametrize(
    "rope",
    [
        ROPE,
        {FULL: ROPE, SLIDING: {"rope_theta": 1e4, "partial_rotary_factor": 1.0}},
        {"type": "longrope", "short_factor": [1.0], "long_factor": [2.0]},
        {"rope_type": "yarn", "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "truncate": False},
        {"partial_rotary_factor": None, "rope_type": None},
    ],
)
def test_other_angles_are_the_same_work(rope: dict[str, Any]) -> None:
    """A longer context by scaling multiplies and moves the same."""
    assert shape_of({**LLAMA, "rope_parameters": rope}) == shape_of(LLAMA)


@pytest.mark.parametrize(
    ("keys", "window"),
    [
        ({"sliding_window": 16}, 16),
        ({"sliding_window": None}, None),
        ({"sliding_window": 16, "use_sliding_window": False}, None),
        ({"sliding_window": 16, "layer_types": [SLIDING] * 4}, 16),
        ({"sliding_window": 16, "layer_types": [FULL] * 4}, None),
        ({"sliding_window": 16, "layer_types": [SLIDING, FULL] * 2}, (16, None)),
        ({"sliding_window": 16, "layer_types": [SLIDING, FULL, FULL, SLIDING]}, (16, None, None)),
    ],
)
def test_a_window_counts_where_it_is_used(keys: dict[str, Any], window: Windows) -> None:
    """By the switch and the kinds of layers that newer configurations state, as they repeat."""
    assert shape_of({**LLAMA, "model_type": "mistral", **keys}).window == window


@pytest.mark.parametrize(
    ("first", "window"), [(0, 16), (4, None), (2, (None, None, 16, 16)), (3, (None,) * 3 + (16,))]
)
@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
def test_qwen_has_windows_from_a_layer_on(kind: str, first: int, window: Windows) -> None:
    """From all, from none or from some; where it does not say from which the key is named."""
    config = {**LLAMA, "model_type": kind, "sliding_window": 16, "use_sliding_window": True}
    assert shape_of({**config, "max_window_layers": first}).window == window
    with pytest.raises(ScenarioError, match="max_window_layers: found nothing; must be the first"):
        shape_of(config)
    with pytest.raises(ScenarioError, match="use_sliding_window must be true or false beside"):
        shape_of({**config, "use_sliding_window": None})


@pytest.mark.parametrize(
    ("kind", "keys", "window"),
    [
        ("gemma2", {}, (4096, None)),
        ("gemma2", {"sliding_window": 16, "num_hidden_layers": 3}, (16, None)),
        ("gemma3_text", {"sliding_window": 16}, (16,) * 5 + (None,)),
        ("gemma3_text", {"sliding_window": 16, "sliding_window_pattern": 2}, (16, None)),
        ("gemma3_text", {"sliding_window": 16, "layer_types": [SLIDING, FULL] * 2}, (16, None)),
        ("gemma", {}, None),
    ],
)
def test_gemma_has_local_and_global_layers(kind: str, keys: Any, window: Windows) -> None:
    """Every other layer, five of six, or as the types of the layers say."""
    assert shape_of({**LLAMA, "model_type": kind, **keys}).window == window


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"layer_types": [SLIDING] * 3}, "layer_types: found 3 types; there are 4 layers"),
        ({"layer_types": [SLIDING] * 4, "sliding_window": None}, "sliding_window gives no window"),
        ({"sliding_window_pattern": 0}, "sliding_window_pattern: found 0; must be a positive"),
        ({"hidden_activation": "silu"}, "hidden_activation: found 'silu'; must be null or one of"),
        ({"vision_config": {}}, "a model of several kinds of input"),
        ({"altup_num_inputs": 4}, "does not know what it changes"),
    ],
)
def test_what_gemma_does_not_have_is_refused_by_name(keys: dict[str, Any], said: str) -> None:
    """Types of layers that do not fit, another activation, and what its successors have."""
    with pytest.raises(ScenarioError, match=said):
        shape_of({**LLAMA, "model_type": "gemma3_text", **keys})


def test_families_have_the_variants_of_their_code() -> None:
    """What the type of a configuration means beyond its keys, as transformers' classes have it."""
    qwen3, olmo2 = (shape_of({**LLAMA, "model_type": kind}) for kind in ("qwen3", "olmo2"))
    assert (qwen3.qk_norm, qwen3.norm_at, qwen3.head_dim) == ("head", "before", 128)
    assert (olmo2.qk_norm, olmo2.norm_at, olmo2.head_dim) == ("whole", "behind", 8)
    gemma, gemma2, gemma3 = (
        shape_of({**LLAMA, "model_type": kind}) for kind in ("gemma", "gemma2", "gemma3_text")
    )
    for shape in (gemma, gemma2, gemma3):
        assert (shape.gate, shape.scaled_embedding, shape.tied) == ("gelu", True, True)
    assert (gemma.norm_at, gemma2.norm_at, gemma3.norm_at) == ("before", "both", "both")
    assert (gemma2.score_cap, gemma2.logit_cap, gemma3.score_cap) == (50.0, 30.0, None)
    assert (gemma2.qk_norm, gemma3.qk_norm) == (None, "head")


def test_a_cap_of_null_is_none() -> None:
    """In a family that has one where nothing is stated."""
    config = {**LLAMA, "model_type": "gemma2"}
    assert shape_of({**config, "attn_logit_softcapping": None}).score_cap is None
    assert shape_of({**config, "attn_logit_softcapping": 20.0}).score_cap == 20.0


@pytest.mark.parametrize("place", [None, "rope_parameters", "rope_scaling"])
def test_phi3_may_turn_a_part_of_every_head(place: str | None) -> None:
    """Wherever transformers has put it: an even number of elements, or it is refused."""

    def phi3(factor: Any) -> ModelShape:
        part = {"partial_rotary_factor": factor}
        return shape_of({**LLAMA, "model_type": "phi3", **({place: part} if place else part)})

    assert [phi3(factor).rotary for factor in (0.5, 0.75, 1.0, 1, None)] == [4, 6, None, None, None]
    for factor, said in ((0.4, "must make an even number"), (1.5, "of at most 1"), ("x", "number")):
        with pytest.raises(ScenarioError, match=rf"partial_rotary_factor: found .*{said}"):
            phi3(factor)
