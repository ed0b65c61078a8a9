"""Latent attention: its sizes, its values under every strategy, what travels, and bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.schedules import VARIANTS, options, program, record, title
from tests.test_scenario import SMALL
from tests.test_values import prove
from tspsim.cli.closed_forms import forward_volume
from tspsim.files.errors import ScenarioError
from tspsim.kernels import PRESETS
from tspsim.latent import Latent
from tspsim.model import ModelShape, Optimizer, Workload, forward_flops
from tspsim.program.types import Op
from tspsim.scenario import from_document
from tspsim.scenario.hf_latent import KEYS, latent_of, latent_problems
from tspsim.testing import Skipped, contract, forgettable, without
from tspsim.topology.hardware import Roofline
from tspsim.topology.load import load_file
from tspsim.topology.tables import kinds_of
from tspsim.values import check, compare
from tspsim.values.dense import Dense, initial

#: Every width is another one, and none is that of a head's values.
LATENT = Latent(kv_rank=8, nope=4, rope=2, value=3, q_rank=12)
MODEL = ModelShape(
    hidden=16, layers=1, heads=8, kv_heads=8, ffn=16, vocab=16, head_dim=6, latent=LATENT
)
#: Queries from the stream, as DeepSeek-V2-Lite has them; and norms with a bias.
LITE = replace(MODEL, norm="layernorm", latent=replace(LATENT, q_rank=None))
WORKLOAD = Workload(sequence=16, dtype="fp64")

DEEPSEEK_V3 = ModelShape(
    hidden=7168, layers=1, heads=128, kv_heads=128, ffn=18432,
    latent=Latent(kv_rank=512, nope=128, rope=64, value=128, q_rank=1536),
)  # fmt: skip

#: Every strategy that cuts tokens by gathering, once more with latents that are gathered.
GATHERED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("tsp", {"degree": 4, "gather_latent": True}),
    ("tsp", {"degree": 4, "gather_latent": True, "head_buckets": 2, "share_recompute": False}),
    ("tsp", {"degree": 1, "gather_latent": True}),
    ("sp", {"degree": 4, "gather_latent": True}),
    ("tp_sp", {"tp": 2, "sp": 2, "gather_latent": True, "sequence_parallel": True}),
)

#: The last sum of a forward that is run again is read by nobody: see tests/test_mutations.py.
UNREAD = {("reduce_scatter", "mlp.out", "recompute")}


class TestSizes:
    """Counts of parameters and flops."""

    def test_deepseek_v3_has_the_published_parameters(self) -> None:
        """7168*1536 + 1536 + 1536*128*192 + 7168*576 + 512 + 512*128*256 + 128*128*7168."""
        assert DEEPSEEK_V3.attention_weights + DEEPSEEK_V3.latent_norms == 187_107_328
        others = DEEPSEEK_V3.mlp_weights + 2 * DEEPSEEK_V3.hidden
        assert DEEPSEEK_V3.layer_parameters_of(0) == 187_107_328 + others

    def test_queries_without_a_latent_are_projected_from_the_stream(self) -> None:
        """DeepSeek-V2-Lite: 2048*16*192 + 2048*576 + 512 + 512*16*256 + 16*128*2048."""
        latent = replace(DEEPSEEK_V3.latent, q_rank=None)
        lite = ModelShape(2048, 1, 16, 16, ffn=10944, latent=latent)
        assert lite.attention_weights + lite.latent_norms == 13_763_072

    @pytest.mark.parametrize("kind", ["tsp", "tp", "sp"])
    def test_ranks_hold_and_compute_what_the_model_counts(self, kind: str) -> None:
        """Resident weights of TSP are 1/D but for norms; matrix flops are the model's."""
        work = Workload(sequence=4096, causal="contiguous", phase="forward")
        recorded, mesh = program((kind, {"degree": 8}), DEEPSEEK_V3, work)
        flops = sum(_flops(op, rank) for op in recorded.ops for rank in range(8))
        shared = sum(op.work.flops for op in recorded.ops if op.label in ("q_a", "kv_a"))
        again = 7 * shared if kind == "tp" else 0  # every rank of tp runs the ways down
        assert flops == forward_flops(DEEPSEEK_V3, work) + again
        held = sum(b.bytes for b in recorded.buffers if b.kind == "weight") // 2
        norms = 2 * DEEPSEEK_V3.hidden + DEEPSEEK_V3.latent_norms
        whole = {
            "tsp": 0,
            "tp": 7168 * (1536 + 576),
            "sp": DEEPSEEK_V3.layer_parameters_of(0) - norms,
        }
        cut = DEEPSEEK_V3.layer_parameters_of(0) - norms - whole[kind]
        assert held == norms + whole[kind] + cut // 8
        assert mesh.ranks == 8

    def test_attention_multiplies_with_keys_and_values_of_their_own_widths(self) -> None:
        """2 * pairs * (192 + 128) a head forward; 2 * pairs * (3 * 192 + 2 * 128) backward."""
        work = Workload(sequence=4096)
        recorded, _ = program(("tp", {"degree": 1}), DEEPSEEK_V3, work)
        found = {op.kind.name: op.work for op in recorded.ops if op.work and op.work.kernel}
        pairs = 4096 * 4096 // 2
        assert found["attention"].flops == 2 * pairs * 128 * (192 + 128)
        assert found["attention_backward"].flops == 2 * pairs * 128 * (3 * 192 + 2 * 128)


def _flops(op: Op, rank: int) -> int:
    if op.work is None:
        return 0
    return (op.work.works[rank] if hasattr(op.work, "works") else op.work).flops


class TestValues:
    """Loss, output, input gradient and every weight gradient are the dense model's."""

    @pytest.mark.parametrize("recompute", ["none", "selective", "full"])
    @pytest.mark.parametrize("variant", [*VARIANTS, *GATHERED], ids=title)
    def test_every_strategy_computes_the_dense_models_numbers(self, variant, recompute) -> None:
        """With a latent of queries and without, RMSNorm and LayerNorm."""
        for model in (MODEL, LITE):
            prove(variant, model, replace(WORKLOAD, recompute=recompute))

    @pytest.mark.parametrize("variant", [*GATHERED, *VARIANTS[:12:5]], ids=title)
    def test_layers_micro_batches_masks_and_a_window(self, variant) -> None:
        """Several of each, and contiguous tokens with no mask."""
        several = replace(WORKLOAD, batch=2, micro_batches=2, recompute="full")
        prove(variant, replace(MODEL, layers=2, vocab=0), several)
        prove(variant, MODEL, replace(WORKLOAD, causal="off", phase="forward"))
        prove(variant, replace(LITE, window=5), replace(WORKLOAD, causal="contiguous"))

    @pytest.mark.parametrize("kernels", ["torch-eager", "megatron-2022"])
    @pytest.mark.parametrize("variant", [VARIANTS[0], VARIANTS[7], *GATHERED[:1]], ids=title)
    def test_every_kernel_computes_the_same(self, variant, kernels) -> None:
        """Unfused attention, and single tensor ops."""
        workload = replace(WORKLOAD, recompute="selective", kernels=PRESETS[kernels])
        for model in (MODEL, LITE):
            prove(variant, model, workload)

    @pytest.mark.parametrize("own", [{"zero": 1}, {"zero": 3}, {"pp": "zb_h1"}], ids=str)
    @pytest.mark.parametrize("variant", [VARIANTS[0], VARIANTS[7], *GATHERED[3:4]], ids=title)
    def test_replicas_share_it_and_backward_splits(self, variant, own) -> None:
        """Optimizer states or weights cut over replicas; weight gradients put off."""
        own = {"pp": {"stages": 2, "schedule": "zb_h1"}} if "pp" in own else {"dp": 2, **own}
        workload = replace(WORKLOAD, micro_batches=2, recompute="full")
        form = type(options(variant[0], **variant[1]))
        strategy = form.model_validate({**variant[1], **own})
        model = replace(LITE if "pp" in own else MODEL, layers=2)
        programs = strategy.record(model, workload, Optimizer())
        proof = compare(programs, strategy.mesh(), model, workload)
        assert proof.passed, proof.worst

    @pytest.mark.parametrize(
        "variant", [VARIANTS[0], VARIANTS[7], GATHERED[0], GATHERED[4]], ids=title
    )
    def test_forgetting_any_one_collective_or_reorder_is_found(self, variant) -> None:
        """One at a time, made to do nothing."""
        workload = replace(WORKLOAD, recompute="full")
        programs, mesh = record(variant, MODEL, workload)
        unnoticed = {
            victim[1:]
            for victim in forgettable(programs)
            if compare(without(programs, victim), mesh, MODEL, workload).passed
        }
        assert unnoticed <= UNREAD

    @pytest.mark.parametrize("label", ["rotary.q", "rotary.k", "rotary.dk", "add.dk_shared"])
    def test_forgetting_what_positions_ask_for_is_found(self, label: str) -> None:
        """A rotation of a part, or the sum of the shared key's gradient over turns."""
        programs, mesh = record(("tsp", {"degree": 2}), MODEL, WORKLOAD)
        (role,) = programs.roles
        victim = next(op for op in role.ops if op.label == label)
        ops = tuple(op._replace(kind=Skipped(op)) if op is victim else op for op in role.ops)
        changed = replace(programs, roles=(replace(role, ops=ops),))
        assert not compare(changed, mesh, MODEL, WORKLOAD).passed

    def test_the_dense_model_agrees_with_finite_differences(self) -> None:
        """The yardstick itself: its gradients are those of its loss."""
        for model in (MODEL, LITE):
            workload = replace(WORKLOAD, sequence=4)
            tensors = initial(model, workload)
            dense = Dense(model, workload, tensors).run()
            rng = np.random.default_rng(1)
            for name, gradient in dense.gradients.items():
                direction = rng.normal(size=gradient.shape)
                moved = ({**tensors, name: tensors[name] + e * direction} for e in (1e-5, -1e-5))
                up, down = (Dense(model, workload, them).run().loss for them in moved)
                slope = float((gradient * direction).sum())
                assert (up - down) / 2e-5 == pytest.approx(slope, rel=1e-5)


class TestRuns:
    """What holds of every program."""

    @pytest.mark.parametrize("name", ["calls-meet", "folded-is-unfolded", "step-within-bounds"])
    @pytest.mark.parametrize("variant", [VARIANTS[0], VARIANTS[7], GATHERED[3]], ids=title)
    def test_a_step_is_played_as_any_other(self, variant, name: str) -> None:
        """Calls meet, ranks fold, and a step lies within its bounds."""
        (held,) = (c for c in contract(*variant, MODEL) if c.name == name)
        held()


class TestTraffic:
    """What travels between ranks."""

    def test_tsp_receives_what_its_closed_form_says(self) -> None:
        """W with the ways down in it, and keys and values of their own widths."""
        for kind, degrees in (("tsp", {"degree": 4}), ("sp", {"degree": 4}), ("tp", {"degree": 4})):
            scenario = from_document(
                {**SMALL, "model": _keys(MODEL), "strategy": {"kind": kind, **degrees}}
            )
            strategy, work = scenario.strategy, replace(scenario.workload, phase="forward")
            programs = strategy.record(scenario.model, work, scenario.optimizer)
            received = sum(
                op.message.received(4)
                for op in programs.roles[0].ops
                if op.message and op.layer == 0
            )
            assert received == forward_volume(scenario)

    @pytest.mark.parametrize(("gathers", "elements"), [(False, 128 * (192 + 128)), (True, 576)])
    def test_a_gathered_latent_is_shorter_than_all_heads(self, gathers: bool, elements) -> None:
        """Per token: 576 elements once, not keys and values of 128 heads."""
        work = Workload(sequence=4096, phase="forward")
        variant = ("tsp", {"degree": 8, "gather_latent": gathers})
        recorded, _ = program(variant, DEEPSEEK_V3, work)
        lanes = [recorded.lanes[op.lane].name for op in recorded.ops]
        said = [
            op.message.bytes for op, n in zip(recorded.ops, lanes, strict=True) if n == "tsp/kv"
        ]
        assert sum(said) == elements * 4096 * 2
        assert len(said) == (1 if gathers else 8)

    def test_tp_gathers_latents_and_not_the_stream(self) -> None:
        """With sequence parallel: 1536 + 512 + 64 elements a token, not 7168."""
        work = Workload(sequence=4096, phase="forward")
        variant = ("tp", {"degree": 8, "sequence_parallel": True})
        recorded, _ = program(variant, DEEPSEEK_V3, work)
        (entered,) = (op for op in recorded.ops if op.label == "attention.in")
        assert entered.message is not None
        assert entered.message.bytes == (1536 + 512 + 64) * 4096 * 2


class TestTime:
    """Which measured kernels count."""

    def test_widths_that_were_measured_are_looked_up_in_their_own_table(self) -> None:
        """DeepSeek's heads forward and backward; others where all attention is."""
        work = Workload(sequence=4096)
        found = {
            name: [kinds_of(op.work)[0] for op in program(("tp", {"degree": 1}), model, work)[0].ops
                   if op.kind.name.startswith("attention")]
            for name, model in (("v3", DEEPSEEK_V3), ("small", MODEL))
        }  # fmt: skip
        assert found["v3"] == ["mla", "mla_backward"]
        assert found["small"] == ["attention", "attention_backward"]

    def test_a_profile_without_that_table_uses_attentions(self) -> None:
        """On B200 latent attention was measured twice as fast as heads of 160 elements are."""
        recorded, _ = program(("tp", {"degree": 1}), DEEPSEEK_V3, Workload(4096, phase="forward"))
        (work,) = (op.work for op in recorded.ops if op.kind.name == "attention")
        node = load_file("b200-node")
        device, profile = node.devices[0], node.profile
        plain = replace(profile, tables=tuple(t for t in profile.tables if t.kind != "mla"))
        own, others = (Roofline(device, p, "bf16").seconds(work) for p in (profile, plain))
        assert others > 1.5 * own


class TestScenario:
    """Keys of a scenario and of a config.json."""

    def test_a_resolved_document_loads_as_equal(self) -> None:
        """Through JSON and back, with a strategy that gathers latents; and it is proven."""
        strategy = {"kind": "sp", "degree": 4, "gather_latent": True}
        first = from_document({**SMALL, "model": _keys(MODEL), "strategy": strategy})
        assert first.model == MODEL
        assert from_document(json.loads(json.dumps(first.document))) == first
        proof = check(first)
        assert proof.passed
        assert {"L0.wkv_a gradient", "L0.q_norm gradient"} <= {c.tensor for c in proof.comparisons}

    @pytest.mark.parametrize(
        ("model", "strategy", "message"),
        [
            ({"kv_heads": 4}, {}, "model.kv_heads: found 4; with latent attention every head has"),
            ({"head_dim": 8}, {}, "model.head_dim: found 8; it is latent.nope + latent.rope"),
            ({"qkv_bias": True}, {}, "model.qkv_bias: found true; latent attention with biases"),
            ({"latent.rope": 3}, {}, "model.latent.rope: found 3; must be even"),
            ({"latent.nope": 0}, {}, "model.latent.nope: found 0"),
            ({"latent.kv_rnk": 3}, {}, "unknown key (did you mean 'kv_rank'?)"),
            ({"hidden": 18}, {}, "strategy.degree: 4 does not divide the model's hidden 18"),
            ({"latent": None}, {"gather_latent": True}, "the model has no latent attention"),
            (
                {},
                {"gather_latent": True, "keep_gathered_kv": True},
                "strategy.gather_latent: found true; keep_gathered_kv keeps what is not gathered",
            ),
            (
                {},
                {"kind": "sp", "kv": "ring", "gather_latent": True},
                "strategy.gather_latent: found true; kv: ring gathers nothing",
            ),
        ],
    )
    def test_what_cannot_be_is_refused_by_name(self, model, strategy, message) -> None:
        """Each with its place, and what is allowed."""
        keys = _keys(MODEL)
        for path, value in model.items():
            *section, key = path.split(".")
            (keys[section[0]] if section else keys)[key] = value
        whole = {**SMALL, "model": keys, "strategy": {"kind": "tsp", "degree": 4, **strategy}}
        with pytest.raises(ScenarioError) as caught:
            from_document(whole)
        assert message in str(caught.value)

    def test_keys_of_a_config_json_become_those_of_a_scenario(self) -> None:
        """DeepSeek-V3's own names; V2-Lite's queries have no latent."""
        config = {
            "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
            "v_head_dim": 128, "q_lora_rank": 1536, "num_attention_heads": 128,
            "num_key_value_heads": 128,
        }  # fmt: skip
        assert not list(latent_problems(config))
        assert Latent(**latent_of(config)) == DEEPSEEK_V3.latent
        lite = {**config, "q_lora_rank": None}
        assert not list(latent_problems(lite))
        assert Latent(**latent_of(lite)) == replace(DEEPSEEK_V3.latent, q_rank=None)

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("kv_lora_rank", None, "must be a positive integer"),
            ("v_head_dim", 12.5, "found 12.5; must be a positive integer"),
            ("q_lora_rank", "a", "found 'a'; must be a positive integer, or null"),
            ("num_key_value_heads", 8, "every one of the 128 heads has its own"),
        ],
    )
    def test_a_config_json_that_leaves_them_open_is_refused(self, key, value, message) -> None:
        """By the name that stands in it."""
        config = dict.fromkeys(KEYS.values(), 64)
        config |= {"num_attention_heads": 128, key: value}
        (problem,) = latent_problems(config)
        assert problem.path == (key,)
        assert message in problem.message


def _keys(model: ModelShape) -> dict[str, Any]:
    latent = {k: getattr(model.latent, k) for k in ("kv_rank", "nope", "rope", "value", "q_rank")}
    return {"hidden": 16, "layers": 1, "heads": 8, "ffn": 16, "vocab": 16, "latent": latent}
