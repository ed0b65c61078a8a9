"""``tspsim new``: whatever is answered, the file runs or the refusal says why."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tspsim.cli import new
from tspsim.cli.app import app
from tspsim.scenario import load

PHASES = list(product(("train", "forward", "prefill", "decode", "generate"), ("tsp", "tp_sp")))


def call(*words: str, answers: str = "") -> Result:
    """Run ``tspsim new``."""
    return CliRunner().invoke(app, ["new", *words], input=answers)


def test_without_answers_it_writes_what_is_usual_and_that_runs(tmp_path: Path) -> None:
    """On stdout, or into a file that is not written over."""
    path = tmp_path / "mine.yaml"
    result = call("-o", str(path))
    assert (result.exit_code, result.stdout) == (0, "")
    assert load(path).strategy.kind == "tsp"
    assert call().stdout == path.read_text(encoding="utf-8").replace("mine.yaml", "new.yaml")
    again = call("-o", str(path))
    assert (again.exit_code, again.stderr) == (
        2,
        f"{path}: is there already; --force writes over it\n",
    )
    assert call("-o", str(path), "--force", "--sequence", "8192").exit_code == 0
    assert load(path).workload.sequence == 8192


@pytest.mark.parametrize(
    ("phase", "kind"),
    PHASES,
)
def test_every_phase_has_its_keys(phase: str, kind: str, tmp_path: Path) -> None:
    """The file is read without a mistake, and every key of it has a comment."""
    path = tmp_path / "mine.yaml"
    assert call("--phase", phase, "--strategy", kind, "-o", str(path)).exit_code == 0
    assert load(path).workload.phase in (phase, "decode")
    keys = [line for line in path.read_text().splitlines() if ": " in line and line[0] != "#"]
    assert len(keys) >= 7
    assert all("  # " in line for line in keys)


@pytest.mark.parametrize(
    ("model", "kind", "degree", "replicas"),
    [("llama-3-8b", "tsp", 8, 4), ("qwen2.5-7b", "tsp", 4, 8), ("llama-3-8b", "fsdp", 1, 32)],
)
def test_degrees_stay_in_a_node_and_divide_the_model(
    model: str, kind: str, degree: int, replicas: int, tmp_path: Path
) -> None:
    """28 heads do not divide by 8: then more replicas."""
    path = tmp_path / "mine.yaml"
    call("--model", model, "--topology", "h100-4-nodes", "--strategy", kind, "-o", str(path))
    mesh = load(path).strategy.mesh()
    assert mesh.replicas == replicas
    assert mesh.ranks == degree * replicas == 32


def test_what_is_missing_is_asked_until_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong answer is told what there is and asked again; an empty one is the usual."""
    monkeypatch.setattr(new, "can_ask", lambda: True)
    result = call("--phase", "forward", answers="llama-3-9b\nllama-3-70b\n\n64K\n65536\ntp\n")
    assert result.exit_code == 0
    assert "did you mean 'llama-3-70b'" in result.stderr or "shipped: " in result.stderr
    assert "whole number of tokens" in result.stderr
    assert "model: {hf: llama-3-70b}" in result.stdout
    assert "sequence: 65536" in result.stdout
    assert "kind: tp " in result.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--model nope", "--model: found no file 'nope'; shipped: "),
        ("--phase serve", "unknown phase 'serve'; known: decode, "),
        ("--strategy tpp", "unknown strategy 'tpp' (did you mean 'tp'?)"),
        ("--sequence 0", "--sequence: found '0'"),
        ("--strategy tp_sp --topology tpu-one", "--topology: found no file 'tpu-one'"),
        ("--sequence 8191", "the sequence of 8191 does not divide"),
        (
            "--strategy fsdp --phase decode",
            "phase decode is there for strategies that hold a cache",
        ),
    ],
)
def test_a_wrong_answer_is_told_and_nothing_is_written(
    words: str, told: str, tmp_path: Path
) -> None:
    """Exit code 2, the reason, no file."""
    path = tmp_path / "mine.yaml"
    result = call(*words.split(), "-o", str(path))
    assert result.exit_code == 2
    assert told in result.stderr
    assert not path.exists()


def test_a_vocabulary_that_no_degree_divides_is_padded(tmp_path: Path) -> None:
    """GPT's 50,257 is odd: it becomes the next multiple of 128, where it has to be cut at all."""
    path = tmp_path / "mine.yaml"
    words = ("--model", "gpt3-175b", "-o", str(path), "--force", "--strategy")
    assert call(*words, "tp").exit_code == 0
    assert load(path).model.vocab == 50304
    assert call(*words, "sp").exit_code == 0
    assert load(path).model.vocab == 50257


def test_of_a_mixture_of_experts_it_asks_where_they_lie_too() -> None:
    """And of a dense model it does not."""
    asked = "strategy.experts.layout=tokens,ring,tensor"
    assert asked in call("--model", "mixtral-8x7b").stdout
    assert asked not in call("--model", "llama-3-8b").stdout


def test_devices_without_bf16_get_what_they_have(tmp_path: Path) -> None:
    """V100 multiplies in fp16."""
    path = tmp_path / "mine.yaml"
    assert call("--topology", "v100-node", "-o", str(path)).exit_code == 0
    assert load(path).workload.dtype == "fp16"
