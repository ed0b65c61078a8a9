"""A Hugging Face config.json may hold anything: what is no such shape is told with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tspsim.cli.app import app

SCENARIO = """\
model: {hf: config.json}
workload: {sequence: 64}
topology: {kind: ring, ranks: 2, link: {bandwidth: 50 GB/s, latency: 1 us}, device: h100-sxm}
strategy: {kind: tsp, degree: 2}
"""
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {
        "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 1, "head_dim": 8,
        "num_attention_heads": 8, "num_key_value_heads": 4, "intermediate_size": 128,
        "vocab_size": 256, "tie_word_embeddings": False, "sliding_window": 16,
    },
    "gpt2": {
        "model_type": "gpt2", "n_embd": 64, "n_layer": 1, "n_head": 8, "n_inner": 256,
        "vocab_size": 256, "tie_word_embeddings": True,
    },
}  # fmt: skip
WRONG = [
    {}, [], [64], {"a": 1}, "", "64", "a\x1b[31m", -1, 1.5, 1e30, 10**16, 10**30, 10**400,
    float("nan"), float("inf"), "NaN", [[[]]],
]  # fmt: skip
FIELDS = [(family, key) for family, config in CONFIGS.items() for key in config]


def run(folder: Path, config: object) -> Any:
    """Run a scenario whose model is a configuration."""
    (folder / "s.yaml").write_text(SCENARIO)
    (folder / "config.json").write_text(json.dumps(config))
    return CliRunner().invoke(app, ["run", str(folder / "s.yaml")])


@pytest.mark.parametrize("family", CONFIGS)
def test_a_configuration_is_read(family: str, tmp_path: Path) -> None:
    """Unspoilt they run."""
    assert run(tmp_path, CONFIGS[family]).exit_code == 0


@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize(("family", "key"), FIELDS)
def test_a_value_of_the_wrong_kind_is_told(
    family: str, key: str, value: object, tmp_path: Path
) -> None:
    """With the place of the value or of the section that it breaks; never a traceback."""
    result = run(tmp_path, CONFIGS[family] | {key: value})
    assert result.exit_code == 2, (result.exception, result.output)
    assert isinstance(result.exception, SystemExit)
    assert "config.json:1:" in result.stderr or "s.yaml:1:" in result.stderr
    assert "\x1b" not in result.output


@pytest.mark.parametrize(("family", "key"), [f for f in FIELDS if not f[1].startswith("tie")])
def test_true_is_no_number_and_no_name(family: str, key: str, tmp_path: Path) -> None:
    """Although Python counts with it."""
    result = run(tmp_path, CONFIGS[family] | {key: True})
    assert result.exit_code == 2
    assert "found true" in result.stderr


@pytest.mark.parametrize("key", ["attention_bias", "mlp_bias"])
@pytest.mark.parametrize("value", ["false", 1, {}, []])
def test_biases_that_are_neither_there_nor_not_are_refused(
    key: str, value: object, tmp_path: Path
) -> None:
    """Whatever is stated but true, false or nothing."""
    result = run(tmp_path, CONFIGS["llama"] | {key: value})
    assert result.exit_code == 2
    assert f"{key}: found " in result.stderr
    for fine in (True, False, None):
        assert run(tmp_path, CONFIGS["llama"] | {key: fine}).exit_code == 0


@pytest.mark.parametrize("config", [[], "llama", None, 1, True, {}])
def test_what_is_no_configuration_is_told(config: object, tmp_path: Path) -> None:
    """With the name of the file."""
    result = run(tmp_path, config)
    assert result.exit_code == 2
    assert "config.json" in result.stderr


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "model={hidden: 100000000, layers: 1, heads: 2, ffn: 100000000, vocab: 0}",
            "makes tensors of more",
        ),
        ("workload.sequence=1000000000000000", "makes tensors"),
        ("workload.micro_batches=1000000000", "layers in all micro-batches"),
        ("optimizer={bytes_per_parameter: {weight: 1000000}}", "at most 1024"),
    ],
)
def test_what_bytes_cannot_be_counted_of_is_told(override: str, said: str, tmp_path: Path) -> None:
    """Each number alone is fine, and together they are none that could be simulated."""
    (tmp_path / "s.yaml").write_text(SCENARIO)
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS["llama"]))
    result = CliRunner().invoke(app, ["run", str(tmp_path / "s.yaml"), override])
    assert result.exit_code == 2
    assert said in result.stderr
