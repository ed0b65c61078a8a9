"""Command lines of Megatron-LM, files of torchtitan and models of Hugging Face, as scenarios."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tspsim.cli.app import app
from tspsim.cli.interop import _command
from tspsim.files.errors import ScenarioError, TspsimError
from tspsim.files.source import read as read_source
from tspsim.scenario.interop import hugging_face, machine, megatron, torchtitan
from tspsim.scenario.interop.draft import Draft
from tspsim.scenario.interop.flags import Flag
from tspsim.scenario.interop.megatron_back import back, stated
from tspsim.scenario.interop.megatron_flags import FLAGS
from tspsim.scenario.interop.megatron_model import padded, pattern
from tspsim.scenario.interop.torchtitan_keys import KEYS
from tspsim.scenario.interop.words import words
from tspsim.scenario.models import read_config

RECIPES = Path(__file__).parent / "data" / "recipes"
SMALL = """--num-layers 8 --hidden-size 1024 --num-attention-heads 16 --seq-length 2048
--micro-batch-size 1 --vocab-size 32000 --position-embedding-type rope"""
NAMES = sorted(path.name for path in RECIPES.glob("*.txt"))


def recipe(name: str) -> str:
    """Return the text of a recipe."""
    return (RECIPES / name).read_text(encoding="utf-8")


@pytest.fixture
def any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read no topology: what is asked here does not depend on it, and it takes long."""
    monkeypatch.setattr(machine, "machine", lambda *_: {"file": "h100-node"})


def flags(text: str) -> dict[str, tuple[str, ...]]:
    """Return the flags of a command line with their values."""
    return {name: given.values for name, given in megatron.command(text, "x").given.items()}


def found(text: str, world: int = 8) -> dict[str, object]:
    """Return the keys that a command line makes, by dotted path."""
    return {".".join(key.path): key.value for key in megatron.read(text, "x", world).keys}


def wrong(text: str, world: int | None = 8) -> str:
    """Return what is said of a wrong command line."""
    with pytest.raises(ScenarioError) as error:
        megatron.read(text, "args", world)
    return str(error.value)


def invoke(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, ["import", *arguments])


# ---- Megatron-LM: there and back -----------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_published_command_line_comes_back_flag_by_flag(name: str, tmp_path: Path) -> None:
    """Every flag is given back with its value, those that become no key included."""
    path = tmp_path / "made.yaml"
    path.write_text(megatron.read(recipe(name), name).yaml(), encoding="utf-8")
    assert dict(back(path).flags) == flags(recipe(name))


def test_the_published_70b_recipe_is_the_scenario_that_its_flags_mean() -> None:
    """Sizes, degrees and kernels by hand; the vocabulary is padded for eight ranks."""
    made = megatron.read(recipe("llama3-70b.txt"), "x").scenario()
    model, work, strategy = made.model, made.workload, made.strategy
    shape = (model.hidden, model.layers, model.heads, model.kv_heads, model.ffn, model.vocab)
    assert shape == (8192, 80, 64, 8, 28672, 129024)
    assert (work.sequence, work.batch, work.micro_batches, work.dtype) == (2048, 2, 4, "bf16")
    kernels = work.kernels
    assert (kernels.framework, kernels.attention, kernels.dropout) == ("megatron", "flash-2", False)
    assert kernels.accumulation == "separate"
    assert strategy.kind == "tp"
    assert dict(strategy.mesh().axes)["tp"] == 8
    assert (strategy.zero, strategy.overlap_gradients, strategy.overlap_weights) == (1, True, True)
    assert len(made.topology.devices) == 8


def test_a_changed_key_changes_its_flag_and_no_other(tmp_path: Path) -> None:
    """The comments are not believed where the values say otherwise."""
    text = megatron.read(recipe("llama3-70b.txt"), "x").yaml()
    path = tmp_path / "made.yaml"
    path.write_text(text.replace("micro_batches: 4", "micro_batches: 6"), encoding="utf-8")
    before, now = flags(recipe("llama3-70b.txt")), dict(back(path).flags)
    changed = {name for name in before | now if before.get(name) != now.get(name)}
    assert changed == {"global-batch-size"}
    assert now["global-batch-size"] == ("12",)


@pytest.mark.parametrize(
    "strategy",
    [
        "{kind: tp_sp, tp: 2, sp: 2, dp: 2, sequence_parallel: true, kv: ring, zero: 1}",
        "{kind: fsdp, dp: 8}",
        "{kind: tp, degree: 2, sequence_parallel: true, dp: 2, zero: 1,"
        " pp: {stages: 2, schedule: interleaved, chunks: 2}}",
    ],
    ids=["tp_sp", "fsdp", "pp"],
)
def test_a_scenario_of_ones_own_says_the_same_as_flags(strategy: str, tmp_path: Path) -> None:
    """No comment says where it comes from; read back, model, work and strategy are equal."""
    path = tmp_path / "own.yaml"
    shape = "hidden: 1024, layers: 8, heads: 16, kv_heads: 8, ffn: 4096, vocab: 32000"
    path.write_text(
        f"model: {{{shape}}}\nworkload: {{sequence: 2048, micro_batches: 4}}\n"
        f"topology: {{file: h100-node}}\nstrategy: {strategy}\nkernels: megatron-core\n",
        encoding="utf-8",
    )
    result = back(path)
    assert not [note for note in result.notes if not note.startswith(("strategy.", "kernels."))]
    assert result.world == 8


def test_a_strategy_that_megatron_does_not_have_has_no_flags() -> None:
    """TSP is refused, with what is there."""
    result = invoke("megatron", "--back", "tsp-layer")
    assert result.exit_code == 2
    assert "strategy.kind: found 'tsp', which Megatron-LM does not have; allowed: tp" in (
        result.stderr
    )


# ---- Megatron-LM: every flag -----------------------------------------------------------------


@pytest.mark.usefixtures("any_machine")
def test_every_flag_becomes_a_key_or_is_named_with_a_reason() -> None:
    """Over all flags, one at a time: nothing is dropped in silence."""
    values = {
        "integer": "2",
        "number": "0.5",
        "word": "2",
        "integers": "2",
        "words": "x",
        "nothing": "",
    }
    base = megatron.command(SMALL, "x").given
    for name, flag in FLAGS.items():
        text = f"{SMALL} --{name} {(flag.choices or (values[flag.takes],))[-1]}"
        assert name in base or f"--{name} " in f"{named(text)} ", name


def named(text: str) -> str:
    """Return the flags that a command line's scenario or its refusal names."""
    try:
        draft = megatron.read(text, "x", 8)
    except TspsimError as error:
        return str(error).replace(":", " ")
    used = [f"--{flag}" for key in draft.keys for flag in key.flags]
    return " ".join([*used, *(part for each in draft.passed for part in each.origin)])


def test_a_flag_that_becomes_no_key_says_why() -> None:
    """The tables themselves: every other fate has a reason."""
    assert all(bool(flag.why) != (flag.fate == "mapped") for flag in FLAGS.values())
    assert all(bool(flag.why) != (flag.fate == "mapped") for flag in KEYS.values())


@pytest.mark.usefixtures("any_machine")
@pytest.mark.parametrize(
    ("more", "keys"),
    [
        ("--bf16", {"workload.dtype": "bf16", "optimizer.bytes_per_parameter.master": 4}),
        ("", {"workload.dtype": "fp32", "optimizer.bytes_per_parameter.master": 0}),
        ("--fp16", {"optimizer.bytes_per_parameter.gradient": 2}),
        ("--bf16 --fp8-format hybrid", {"workload.linears": "fp8"}),
        ("--swiglu", {"model.mlp": "gated", "model.ffn": 2688}),
        ("", {"model.mlp": "plain", "model.ffn": 4096, "model.tied": True, "model.mlp_bias": True}),
        ("--window-size 4095,0", {"model.window": 4096}),
        ("--window-size '(127, 0)' --window-attn-skip-freq 2", {"model.window": [128, None]}),
        ("--rotary-percent 0.5", {"model.rotary": 32}),
        ("--recompute-activations", {"workload.recompute": "selective"}),
        (
            "--recompute-granularity full --recompute-method uniform --recompute-num-layers 1",
            {"workload.recompute": "full"},
        ),
        ("--attention-backend unfused", {"kernels.attention": "unfused", "kernels.dropout": True}),
        ("--global-batch-size=32", {"workload.micro_batches": 4}),
        (
            "--tensor-model-parallel-size 2 --context-parallel-size 2 --cp-comm-type allgather",
            {"strategy.kind": "tp_sp", "strategy.dp": 2, "strategy.kv": "all_gather"},
        ),
        ("--context-parallel-size 4", {"strategy.kind": "sp", "strategy.kv": "ring"}),
        ("--use-torch-fsdp2", {"strategy.kind": "fsdp", "strategy.zero": 3}),
        (
            "--use-distributed-optimizer --overlap-grad-reduce --ddp-bucket-size 1000",
            {"strategy.zero": 1, "strategy.bucket": "4000 B"},
        ),
        (
            "--pipeline-model-parallel-size 4 --num-layers-per-virtual-pipeline-stage 1",
            {
                "strategy.pp.schedule.kind": "interleaved",
                "strategy.pp.chunks": 2,
                "strategy.pp.streams": "direction",
            },
        ),
        (
            "--pipeline-model-parallel-size 4 --decoder-first-pipeline-num-layers 1 "
            "--decoder-last-pipeline-num-layers 1",
            {"strategy.pp.layers": [1, 3, 3, 1], "strategy.pp.overlap": False},
        ),
        (
            "--num-layers 7 --pipeline-model-parallel-size 2 "
            "--num-virtual-stages-per-pipeline-rank 2 --account-for-loss-in-pipeline-split",
            {"strategy.pp.layers": [2, 2, 2, 1]},
        ),
        (
            "--num-experts 8 --expert-model-parallel-size 4",
            {"strategy.experts.over": ["dp"], "strategy.experts.degree": 4},
        ),
        (
            "--num-experts 8 --tensor-model-parallel-size 2 --sequence-parallel "
            "--expert-model-parallel-size 4 --expert-tensor-parallel-size 1",
            {"strategy.experts.over": ["tp", "dp"], "strategy.experts.degree": 4},
        ),
        (
            "--num-experts 8 --tensor-model-parallel-size 2 --sequence-parallel "
            "--context-parallel-size 2 --expert-model-parallel-size 2",
            {"strategy.experts.over": ["sp"], "strategy.experts.cut": ["tp"]},
        ),
        (
            "--num-experts 8 --moe-layer-freq ([0]*3+[1]*5)",
            {"model.experts.first_dense": 3, "strategy.experts.degree": 1},
        ),
    ],
)  # fmt: skip
def test_flags_say_keys(more: str, keys: dict[str, object]) -> None:
    """Each by hand, from Megatron-LM's rules."""
    made = found(f"{SMALL} {more}")
    assert {name: made.get(name) for name in keys} == keys


@pytest.mark.parametrize(
    ("vocab", "divisor", "tp", "size"),
    [
        (50257, 128, 1, 50304),
        (50257, 128, 8, 51200),
        (128256, 128, 8, 129024),
        (32000, 1, 4, 32000),
    ],
)
def test_the_vocabulary_is_padded_as_megatron_does(
    vocab: int, divisor: int, tp: int, size: int
) -> None:
    """Its tokenizer module: a multiple of divisor times ranks; 50,304 is GPT-2's well-known one."""
    assert padded(vocab, divisor, tp) == size


def test_a_pattern_of_layers_is_read_and_nothing_is_executed() -> None:
    """Lists, sums and products; no names, no calls, no huge lists."""
    assert pattern("([0]*2+[1]*3)*2") == [0, 0, 1, 1, 1] * 2
    for text in ("__import__('os')", "[1]*10**9", "[1]*999999999", "[2]", "[", "[]", "1", "[1]*-1"):
        assert pattern(text) is None


# ---- Megatron-LM: bad input ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--num-layer 8", "args:1:1: --num-layer: unknown flag of Megatron-LM (did you mean"),
        ("8 --bf16", "args:1:1: 8: found a word; must be a flag of Megatron-LM"),
        ("--num-layers\n  x", "args:1:1: --num-layers: found 'x'; must be an integer of at least"),
        ("--num-layers", "args:1:1: --num-layers: found nothing; takes one integer"),
        ("--bf16\n --hidden-size $HIDDEN", "args:2:16: found '$HIDDEN', which only the shell"),
        ("--save 'a\nb: 1'", "args:1:8: "),
        ("--split '1,2", "args:1:9: a quote is opened and not closed"),
        ("--normalization RMSNom", "found 'RMSNom'; allowed: LayerNorm, RMSNorm (did you mean"),
        ("--squared-relu", "--squared-relu: not modelled (another model than a decoder"),
        ("", "args: is empty; must be flags of Megatron-LM"),
        ("--bf16", "args: --num-layers: missing: the decoder's layers"),
        (f"{SMALL} --bf16 --fp16", "--fp16: contradicts --bf16, at args:2:"),
        (f"{SMALL} --global-batch-size 12", "is no multiple of 1 x 8 (micro-batch, replicas): 8"),
        (f"{SMALL} --tensor-model-parallel-size 3", "3 x 1 x 1 (tensor, context, pipeline) do not"),
        (f"{SMALL} --overlap-param-gather", "needs --overlap-grad-reduce, which is not given"),
        (f"{SMALL} --recompute-granularity full", "full needs --recompute-method: uniform"),
        (f"{SMALL} --num-virtual-stages-per-pipeline-rank 2", "needs --pipeline-model-parallel-"),
        (f"{SMALL} --num-experts 6 --expert-model-parallel-size 4", "found 4; must divide 6"),
        (f"{SMALL} --max-position-embeddings 99", "found 99; must be at least --seq-length"),
        (f"{SMALL} --position-embedding-type relative", "found 'relative', which is not modelled"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_refused_at_its_place(text: str, message: str) -> None:
    """Place, what was found, what is allowed; exit code 2."""
    assert message in wrong(text)


def test_without_a_number_of_devices_the_ways_to_say_it_are_named() -> None:
    """No launcher, no option: nothing is guessed."""
    assert "add --world-size 32" in wrong(SMALL, world=None)
    made = megatron.read(f"torchrun --nproc-per-node=4 --nnodes 2 pretrain_gpt.py {SMALL}", "x")
    assert {key.path: key.value for key in made.keys}["strategy", "dp"] == 8


def test_what_the_scenario_refuses_is_told_at_the_flag_that_says_it() -> None:
    """The mistake is the scenario's, the place the flag's."""
    draft = megatron.read(f"{SMALL} --num-query-groups 5 --group-query-attention", "args", 8)
    with pytest.raises(
        ScenarioError, match=r"^args:2:\d+: --group-query-attention .* 5: model.kv_heads"
    ):
        draft.scenario()


def test_nothing_is_written_of_a_wrong_command_line(tmp_path: Path) -> None:
    """Exit code 2, and neither a file nor a part of one."""
    target = tmp_path / "made.yaml"
    result = invoke("megatron", f"{SMALL} --fp17", "-o", str(target))
    assert result.exit_code == 2
    assert "--fp17: unknown flag of Megatron-LM (did you mean 'fp16'?)" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_command_takes_a_text_single_words_or_a_file(tmp_path: Path) -> None:
    """All three are the same flags; a name that is no file is no flag either."""
    file = tmp_path / "args.txt"
    file.write_text(SMALL, encoding="utf-8")
    forms = ([SMALL], SMALL.split(), [str(file)])
    assert len({str(flags(_command(form)[0])) for form in forms}) == 1
    made = invoke("megatron", *SMALL.split(), "--world-size", "8", "--json")
    assert json.loads(made.stdout)["model"]["hidden"] == 1024
    assert invoke("megatron", str(tmp_path / "none.txt")).exit_code == 2


def test_words_are_those_of_a_shell() -> None:
    """Quotes are taken away, comments and line ends skipped, places kept."""
    found, wrong = words("a 'b c' \\\n  d\"e\" # f\n#g\nh", "x")
    assert [word.text for word in found] == ["a", "b c", "de", "h"]
    assert [word.place for word in found] == ["x:1:1", "x:1:3", "x:2:3", "x:4:1"]
    assert wrong == []


def test_comments_that_name_no_flags_are_no_command_line() -> None:
    """A scenario of one's own may say anything in its comments."""
    assert stated("# try tspsim run --json\nmodel: {} # -- see there\n") is None
    assert stated("a: 1 # --no-such-flag 3\n") is None


# ---- torchtitan ------------------------------------------------------------------------------


def titan(text: str, world: int | None = 8) -> Draft:
    """Return the draft of a torchtitan file."""
    return torchtitan.read(text, "t.toml", world)


def test_the_published_torchtitan_70b_preset_is_the_scenario_that_it_means() -> None:
    """FSDP of eight over TP of eight, on the 64 devices that its comment names."""
    made = torchtitan.read(recipe("torchtitan-llama3-70b.toml"), "t.toml", 64).scenario()
    strategy = made.strategy
    assert (strategy.kind, strategy.dp, strategy.zero, strategy.reduce) == ("tp", 8, 3, "fp32")
    assert (made.model.layers, made.workload.batch, made.workload.recompute) == (80, 8, "full")
    assert made.optimizer.weight + sum(size for _, size in made.optimizer.states) == 12


def test_torchtitan_in_bf16_alone_has_no_fp32_copy() -> None:
    """``training.dtype`` puts weights, gradients and moments in it, unlike mixed precision."""
    made = titan("[training]\ndtype = 'bfloat16'").scenario().optimizer
    assert (made.weight, made.gradient) == (2, 2)
    assert sum(size for _, size in made.states) == 4


@pytest.mark.parametrize(
    ("flavor", "billions"),
    [("0.6B", 0.6), ("1.7B", 1.72), ("4B", 4.02), ("14B", 14.77), ("32B", 32.76)],
)
def test_flavors_of_qwen3_are_as_large_as_they_are_called(flavor: str, billions: float) -> None:
    """Parameters, after the models' own pages."""
    made = titan(f"[model]\nname = 'qwen3'\nflavor = '{flavor}'").scenario().model
    assert made.parameters / 1e9 == pytest.approx(billions, rel=0.01)


def test_an_option_of_another_mode_of_recomputation_is_without_effect() -> None:
    """It is no part that is left unmodelled."""
    said = "[activation_checkpoint]\nmode = 'full'\nselective_ac_option = 'op'"
    (passed,) = titan(said).passed
    assert "without effect beside the mode" in str(passed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[training]\nseq_length = 1",
            "t.toml:2:1: training.seq_length: unknown key of",
        ),
        ("[training]\nseq_len = 'x'", "t.toml:2:1: training.seq_len: found 'x'; must be a number"),
        ("[training\n", "t.toml:1:10: not valid TOML: Expected ']'"),
        ("[model]\nflavor = '80B'", "t.toml:2:1: model.flavor: found 'llama3 80B'"),
        ("[parallelism]\ntensor_parallel_degree = 3", "t.toml:2:1: parallelism.tensor_parallel"),
        ("[parallelism]\npipeline_parallel_schedule = '1f1b'", "allowed: 1F1B, GPipe"),
        ("[training]\nglobal_batch_size = 100", "is no multiple of 8 x 8 (local batch, replicas)"),
    ],
)
def test_a_wrong_torchtitan_file_is_refused_at_its_place(text: str, message: str) -> None:
    """Line and column, what was found, what is allowed."""
    with pytest.raises(ScenarioError) as error:
        titan(text)
    assert message in str(error.value)


@pytest.mark.usefixtures("any_machine")
def test_torchtitan_degrees_become_axes() -> None:
    """Hybrid sharding, context parallelism with a ring, and a schedule of torch."""
    sharded = "data_parallel_replicate_degree = 2\ndata_parallel_shard_degree = 2\n"
    ring = "context_parallel_degree = 2\ncontext_parallel_rotate_method = 'alltoall'\n"
    document = titan(f"[parallelism]\n{sharded}{ring}").document["strategy"]
    assert document["shard"] == {"degree": 2}
    assert (document["kind"], document["kv"], document["dp"]) == ("sp", "ring", 4)
    staged = "pipeline_parallel_degree = 4\npipeline_parallel_schedule = 'ZBVZeroBubble'"
    document = titan(f"[parallelism]\n{staged}").document
    assert document["strategy"]["pp"]["schedule"] == "zb_v"
    assert (document["workload"]["batch"], document["workload"]["micro_batches"]) == (1, 8)


# ---- Hugging Face ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama-3-8b", "deepseek-v2-lite"])
def test_a_model_of_hugging_face_becomes_a_scenario_that_loads(name: str) -> None:
    """The model is the one that the file says; the strategy fits it."""
    draft = hugging_face.read(name)
    from tspsim.scenario import from_document

    hf = {**draft.document, "model": {"hf": name}}
    assert draft.scenario().model == from_document(hf).model


#: A mixture as DeepSeek's code names it, without its sizes.
MIXTURE = {
    "hidden_act": "silu", "tie_word_embeddings": False, "n_shared_experts": 1,
    "num_experts_per_tok": 8, "norm_topk_prob": True, "n_group": 1, "topk_group": 1,
}  # fmt: skip
KIMI = {
    "model_type": "kimi_k2", "hidden_size": 7168, "intermediate_size": 18432,
    "num_hidden_layers": 61, "num_attention_heads": 64, "num_key_value_heads": 64,
    "vocab_size": 163840, "first_k_dense_replace": 1, "moe_layer_freq": 1,
    "n_routed_experts": 384, "moe_intermediate_size": 2048, "routed_scaling_factor": 2.827,
    "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
    "v_head_dim": 128, "num_nextn_predict_layers": 0, "aux_loss_alpha": 0.001, "seq_aux": True,
}  # fmt: skip
GLM = {
    "model_type": "glm4_moe", "attention_bias": True, "head_dim": 128, "hidden_size": 4096,
    "intermediate_size": 10944, "num_hidden_layers": 46, "num_attention_heads": 96,
    "num_key_value_heads": 8, "vocab_size": 151552, "first_k_dense_replace": 1,
    "n_routed_experts": 128, "moe_intermediate_size": 1408, "partial_rotary_factor": 0.5,
    "use_qk_norm": False, "routed_scaling_factor": 1.0, "num_nextn_predict_layers": 1,
    "quantization_config": {"quant_method": "fp8"},
}  # fmt: skip


@pytest.mark.parametrize(("config", "billions"), [(KIMI, 1026.4), (GLM, 106.9)])
def test_published_mixtures_are_as_large_as_they_are_called(
    config: dict[str, Any], billions: float, tmp_path: Path
) -> None:
    """Kimi K2 of a trillion, and GLM-4.5 Air of 106 billions, without what lies behind it."""
    (tmp_path / "config.json").write_text(json.dumps(MIXTURE | config), encoding="utf-8")
    made = hugging_face.read(str(tmp_path))
    assert made.scenario().model.parameters / 1e9 == pytest.approx(billions, rel=0.002)


def test_what_stands_beside_a_decoder_is_named_and_left_out(tmp_path: Path) -> None:
    """Layers for further tokens, and the type that weights are stored in, as published files say.

    A scenario that names the file itself is still refused.
    """
    (tmp_path / "config.json").write_text(json.dumps(MIXTURE | GLM), encoding="utf-8")
    passed = hugging_face.read(str(tmp_path)).passed
    told = {name: each.changes for each in passed for name in each.origin}
    assert told == {"num_nextn_predict_layers": True, "quantization_config": True}
    with pytest.raises(ScenarioError, match="num_nextn_predict_layers: found 1"):
        read_config(read_source(tmp_path / "config.json"))


def test_a_folder_without_a_configuration_says_what_it_holds(tmp_path: Path) -> None:
    """And a folder with one is taken as the model."""
    (tmp_path / "weights.bin").write_text("x")
    result = invoke("hf", str(tmp_path))
    assert result.exit_code == 2
    assert "has no config.json; it holds weights.bin" in result.stderr
    shipped = Path(__file__).parent.parent / "models" / "llama-3-8b" / "config.json"
    (tmp_path / "config.json").write_text(shipped.read_text(encoding="utf-8"), encoding="utf-8")
    assert "hidden: 4096 # hidden_size" in invoke("hf", str(tmp_path)).stdout


def test_a_flag_checks_its_values() -> None:
    """Counts that no machine has, and numbers that are none."""
    assert (
        Flag("integer", least=1).problem(("1e3",))
        == "found '1e3'; must be an integer of at least 1"
    )
    assert Flag("integer").problem(("9" * 30,)) == f"found '{'9' * 30}'; must be an integer"
    assert Flag("number").problem(("nan",)) == "found 'nan'; must be a number"
    assert Flag().problem(("x",)) == "found 'x'; takes no value"


def test_the_machine_has_as_many_devices_as_are_asked_for() -> None:
    """More nodes, or a part of one; one node does not grow."""
    assert machine.machine(64, None) == {"file": "h100-4-nodes", "nodes": 8}
    assert machine.machine(4, None) == {"file": "h100-node", "ranks": 4}
    with pytest.raises(TspsimError, match="has 8 devices; 16 are asked for: name one of several"):
        machine.machine(16, "h200-node")
    with pytest.raises(TspsimError, match="nodes of 8 devices cannot be 12 devices"):
        machine.machine(12, "h100-4-nodes")


def test_a_quote_in_a_value_comes_back() -> None:
    """Comments hold flags as a shell would read them."""
    text = f"{SMALL} --save \"it's (here)\" --wandb-project ''"
    line = stated(megatron.read(text, "x", 8).yaml())
    assert line is not None
    assert {name: given.values for name, given in line.given.items()} == flags(text)
