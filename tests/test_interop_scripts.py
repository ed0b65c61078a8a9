"""Launch scripts: the command line that a shell would run, as far as the script itself says it."""

from __future__ import annotations

import re
import warnings

import pytest

from tspsim.files.errors import ScenarioError
from tspsim.scenario.interop import megatron
from tspsim.scenario.interop.command_line import shown
from tspsim.scenario.interop.script import is_script

#: Written as the examples of NVIDIA's and ROCm's Megatron-LM and BigScience's are: arrays, texts
#: with flags, defaults, sums, conditions, what only a cluster knows, and a command in a variable.
SCRIPT = r"""#!/bin/bash
#SBATCH --nodes=2            # of eight
export CUDA_DEVICE_MAX_CONNECTIONS=${CUDA_DEVICE_MAX_CONNECTIONS:-1}
CHECKPOINT_PATH=${1:-"ckpt/llama"}
mkdir -p "$(dirname "$CHECKPOINT_PATH")"
HCA=$(rdma link -j | python3 -c "import json; print(*[i for i in range(8)],sep=',')")
for ARGUMENT in "$@"
do
   KEY=$(echo $ARGUMENT | cut -f1 -d=)
   export "$KEY"="${ARGUMENT:1}"
done
usage() {
   echo "--num-layers 1 nothing.py"
}
cat <<EOT > ds.json
{ "it's": ( $NOTHING }
EOT
GPUS_PER_NODE=8; HEADS=32
DISTRIBUTED_ARGS=(--nproc_per_node $GPUS_PER_NODE --nnodes $SLURM_NNODES --node_rank ${RANK:-0})
LAYERS=$(( ${GPUS_PER_NODE} * 4 ))
MODEL_SIZE="${MODEL_SIZE:-8}"
if [[ $MODEL_SIZE -eq 70 ]]; then
    HIDDEN=8192
elif [[ $MODEL_SIZE -eq 8 ]]; then
    HIDDEN=4096
else
    exit 1
fi
MODEL_ARGS=(
    --num-layers $LAYERS        # of the small one
    --hidden-size ${HIDDEN}
    #--kv-channels 64
    --num-attention-heads $HEADS --swiglu
    "--seq-length 8192"
    --moe-layer-freq '([0]*1+[1]*31)'
)
TRAIN_ARGS=" \
    --micro-batch-size 1 --bf16 \
    --lr 1e-4 \
"
if [ -n "${WANDB_API_KEY}" ]; then TRAIN_ARGS+=" --wandb-project x"; fi
if [ -z "$FP16" ] && [ "$HEADS" -gt 8 ]; then
    TRAIN_ARGS="$TRAIN_ARGS --global-batch-size $((2*GPUS_PER_NODE))"
fi
if ! [ -d "$DATA" ]; then DATA=fetched; fi
MODEL_ARGS+=("${TRAIN_ARGS[@]}")
run_cmd="torchrun ${DISTRIBUTED_ARGS[@]} --master_addr $(scontrol show $NODES | head -n 1) \
    pretrain_gpt.py ${MODEL_ARGS[*]} --vocab-size 128256 \
    --data-path $DATA --save $CHECKPOINT_PATH/last"
echo $run_cmd
eval $run_cmd 2>&1 | tee log.txt
"""

LINE = (
    "torchrun --nproc_per_node 8 --nnodes 2 pretrain_gpt.py --num-layers 32 --hidden-size 4096 "
    "--num-attention-heads 32 --swiglu --seq-length 8192 --moe-layer-freq '([0]*1+[1]*31)' "
    "--micro-batch-size 1 --bf16 --lr 1e-4 --global-batch-size 16 --vocab-size 128256 "
    "--data-path '$DATA' --save ckpt/llama/last"
)


def flags(text: str) -> dict[str, tuple[str, ...]]:
    """Return the flags of a text, as they are given."""
    return {name: each.values for name, each in megatron.command(text, "run.sh").given.items()}


def test_a_script_is_the_command_line_that_it_runs() -> None:
    """The same flags, devices and scenario; also where `srun` starts a shell of its own."""
    assert flags(SCRIPT) == flags(LINE)
    assert megatron.command(SCRIPT, "run.sh").world == 16
    slurm = SCRIPT.replace("eval $run_cmd", 'srun --wait=60 bash -c "$run_cmd --bf16"')
    assert flags(slurm) == flags(LINE.replace("--bf16 ", "") + " --bf16")
    found, line = megatron.read(SCRIPT, "run.sh"), megatron.read(LINE, "run.sh")
    assert found.scenario().document == line.scenario().document


def test_places_are_those_of_the_script() -> None:
    """A word of an array is where it stands in it."""
    with pytest.raises(ScenarioError, match=r"run.sh:2:3: --num-layers: found 'many'"):
        flags("A=(\n  --num-layers many\n)\nx.py ${A[@]}")


@pytest.mark.parametrize(
    ("script", "given"),
    [
        ("A=1\nB=$A$A; x.py --lr $B", "--lr 11"),
        ("A='a b'\nx.py --split $A", "--split a b"),
        ("A='a b'\nx.py --save \"$A\"", "--save 'a b'"),
        ("A=(--bf16)\nA+=(--lr 1)\nx.py ${A[@]}", "--bf16 --lr 1"),
        ("A=()\nx.py ${A[@]} --bf16", "--bf16"),
        ("A=\nx.py --lr ${A:-3} --min-lr ${B-4}", "--lr 3 --min-lr 4"),
        ("A=\nx.py ${A:+--fp16} ${B:=--bf16} $@", "--bf16"),
        ("A=7\nx.py --seed $((A / 2 - (1 + 1)))", "--seed 1"),
        ("A=7 x.py --seed $UNKNOWN --bf16", "--seed '$UNKNOWN' --bf16"),
        ("A=1\nif [ $A != 1 ]; then B=--fp16\nelse\nB=--bf16\nfi\nx.py $B", "--bf16"),
        ("A=1\nif [ $A = 1 ] || [ $C = 2 ]; then\nB=--bf16\nfi\nx.py $B && rm x", "--bf16"),
        ("A=1\nx.py --bf16 # --fp16\ny.py --other", "--bf16"),
    ],
)
def test_variables_stand_for_what_the_script_assigns(script: str, given: str) -> None:
    """Quotes, defaults, sums, lists, conditions; what it does not say stays as it is written."""
    found = flags(script.replace("--split", "--data-path"))
    assert shown(found).replace("--data-path", "--split") == given


def test_a_sum_of_no_numbers_is_no_warning_of_python(recwarn: pytest.WarningsRecorder) -> None:
    """Python reads sums here; what it thinks of other texts is not the user's matter."""
    warnings.simplefilter("always")
    assert shown(flags("B=1or\nA=$((B 2))\nx.py --bf16")) == "--bf16"
    assert not recwarn.list


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("A=1\nx.py --num-layers $1", "run.sh:2:19: found '$1', which only the shell"),
        ("A=$(nproc)\nx.py --num-layers $A", "run.sh:1:1: found '$(nproc)', which only the shell"),
        (
            "for i in 1 2\ndo\nA=$i\ndone\nx.py --num-layers $A",
            "run.sh:5:19: found '$A', which only",
        ),
        (
            "if test -f x; then\nA=4\nfi\nx.py --num-layers $A",
            "run.sh:4:19: found '$A', which only",
        ),
        ("A=1\nx.py --bf16 $EXTRA", "run.sh:2:13: found '$EXTRA', which only the shell knows"),
        ("A=$((1/0))\nx.py --num-layers $A", "run.sh:1:1: found '$((1/0))', which only the shell"),
        (
            "A=9\n" + "A=$((A * A))\n" * 99 + "x.py --num-layers $A",
            "run.sh:100:1: found '$((A * A))'",
        ),
        ("A=9\n" + "A=$A$A\n" * 99 + "x.py --num-layers $A", "which only the shell knows"),
        ("A='x\ny'\nx.py --save \"$A\"", "run.sh:3:13: "),
        ("A=1\nbash train.sh", "run.sh: found no command that starts a program: torchrun"),
    ],
)
def test_what_a_script_does_not_say_is_refused_where_it_matters(script: str, told: str) -> None:
    """At the word that needs it, or at the assignment that depends on more than the text."""
    with pytest.raises(ScenarioError, match=re.escape(told)):
        flags(script)


def test_flags_alone_are_no_script() -> None:
    """A value after an equals sign is no assignment, nor is a launcher in front."""
    assert not is_script(LINE)
    assert not is_script("--fp8-format=hybrid\n  --lr=1")
