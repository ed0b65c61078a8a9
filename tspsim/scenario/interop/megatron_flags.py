"""The flags of Megatron-LM: those that become keys of a scenario, and why the others do not.

Names, values and defaults are those of ``megatron/training/arguments.py`` at commit 000c4ac24f61
(2025), with some that older recipes still have.
"""

from __future__ import annotations

from tspsim.scenario.interop.flags import Flag, named

_SWITCH = Flag()


def _count(default: int | None = None, least: int = 1) -> Flag:
    return Flag("integer", default, least=least)


def _number(default: float | None = None) -> Flag:
    return Flag("number", default)


def _word(*choices: str, default: str | None = None) -> Flag:
    return Flag("word", default, choices)


#: Flags that say how large a model is, and what its layers do.
_MODEL = {
    "num-layers": _count(),
    "hidden-size": _count(),
    "ffn-hidden-size": _count(),
    "num-attention-heads": _count(),
    "kv-channels": _count(),
    "group-query-attention": _SWITCH,
    "num-query-groups": _count(1),
    "max-position-embeddings": Flag(
        "integer", least=1, fate="passed", why="constants of norms and positions"
    ),
    "position-embedding-type": _word(
        "learned_absolute", "rope", "mrope", "relative", "none", default="learned_absolute"
    ),
    "use-rotary-position-embeddings": _SWITCH,
    "rotary-percent": _number(1.0),
    "no-rope-freq": _word(),
    "vocab-size": _count(),
    "padded-vocab-size": _count(),
    "make-vocab-size-divisible-by": _count(128),
    "normalization": _word("LayerNorm", "RMSNorm", default="LayerNorm"),
    "swiglu": _SWITCH,
    "quick-geglu": _SWITCH,
    "untie-embeddings-and-output-weights": _SWITCH,
    "disable-bias-linear": _SWITCH,
    "add-qkv-bias": _SWITCH,
    "qk-layernorm": _SWITCH,
    "qk-l2-norm": _SWITCH,
    "window-size": _word(),
    "window-attn-skip-freq": _word(),
    "softmax-type": _word("vanilla", "learnable", "off-by-one", default="vanilla"),
    "multi-latent-attention": _SWITCH,
    "q-lora-rank": _count(),
    "kv-lora-rank": _count(32),
    "qk-head-dim": _count(128),
    "qk-pos-emb-head-dim": _count(64),
    "v-head-dim": _count(128),
}

#: Flags of experts.
_EXPERTS = {
    "num-experts": _count(None, 0),
    "expert-model-parallel-size": _count(1),
    "expert-tensor-parallel-size": _count(),
    "moe-layer-freq": _word(default="1"),
    "moe-ffn-hidden-size": _count(),
    "moe-shared-expert-intermediate-size": _count(),
    "moe-router-topk": _count(2),
    "moe-router-score-function": _word("softmax", "sigmoid", default="softmax"),
    "moe-router-pre-softmax": _SWITCH,
    "moe-router-num-groups": _count(),
    "moe-router-group-topk": _count(),
    "moe-router-topk-scaling-factor": _number(),
    "moe-router-enable-expert-bias": _SWITCH,
    "moe-aux-loss-coeff": _number(0.0),
    "moe-z-loss-coeff": _number(),
    "moe-expert-capacity-factor": _number(),
    "moe-token-dispatcher-type": _word("allgather", "alltoall", "flex", default="allgather"),
    "moe-enable-deepep": _SWITCH,
    "overlap-moe-expert-parallel-comm": _SWITCH,
}

#: Flags of what a step processes, and in what kernels and types.
_STEP = {
    "seq-length": _count(),
    "micro-batch-size": _count(),
    "global-batch-size": _count(),
    "bf16": _SWITCH,
    "fp16": _SWITCH,
    "fp8-format": _word("e4m3", "hybrid"),
    "recompute-activations": _SWITCH,
    "recompute-granularity": _word("full", "selective"),
    "recompute-method": _word("uniform", "block"),
    "recompute-num-layers": _count(),
    "recompute-modules": Flag("words"),
    "transformer-impl": _word("local", "transformer_engine", default="transformer_engine"),
    "attention-backend": _word("flash", "fused", "unfused", "local", "auto", default="auto"),
    "use-flash-attn": _SWITCH,
    "no-masked-softmax-fusion": _SWITCH,
    "no-bias-swiglu-fusion": _SWITCH,
    "no-rope-fusion": _SWITCH,
    "no-gradient-accumulation-fusion": _SWITCH,
    "cross-entropy-loss-fusion": _SWITCH,
    "attention-dropout": _number(0.1),
    "hidden-dropout": _number(0.1),
    "optimizer": _word("adam", "sgd", "muon", "dist_muon", default="adam"),
    "optimizer-cpu-offload": _SWITCH,
    "grad-reduce-in-bf16": _SWITCH,
    "accumulate-allreduce-grads-in-fp32": _SWITCH,
    "main-grads-dtype": _word("fp32", "bf16", default="fp32"),
    "main-params-dtype": _word("fp32", "fp16", default="fp32"),
    "exp-avg-dtype": _word("fp32", "fp16", "bf16", "fp8", default="fp32"),
    "exp-avg-sq-dtype": _word("fp32", "fp16", "bf16", "fp8", default="fp32"),
}

#: Flags of how the work is split.
_MESH = {
    "tensor-model-parallel-size": _count(1),
    "sequence-parallel": _SWITCH,
    "context-parallel-size": _count(1),
    "cp-comm-type": Flag("words", ["p2p"], ("p2p", "a2a", "allgather", "a2a+p2p")),
    "hierarchical-context-parallel-sizes": Flag("integers", least=1),
    "use-tp-pp-dp-mapping": _SWITCH,
    "use-distributed-optimizer": _SWITCH,
    "overlap-grad-reduce": _SWITCH,
    "overlap-param-gather": _SWITCH,
    "ddp-bucket-size": _count(),
    "num-distributed-optimizer-instances": _count(1),
    "use-torch-fsdp2": _SWITCH,
    "torch-fsdp2-no-reshard-after-forward": _SWITCH,
    "use-megatron-fsdp": _SWITCH,
    "data-parallel-sharding-strategy": _word(
        "no_shard", "optim", "optim_grads", "optim_grads_params", default="no_shard"
    ),
    "pipeline-model-parallel-size": _count(1),
    "num-layers-per-virtual-pipeline-stage": _count(),
    "num-virtual-stages-per-pipeline-rank": _count(),
    "microbatch-group-size-per-virtual-pipeline-stage": _count(),
    "no-overlap-p2p-communication": _SWITCH,
    "decoder-first-pipeline-num-layers": _count(),
    "decoder-last-pipeline-num-layers": _count(),
    "account-for-embedding-in-pipeline-split": _SWITCH,
    "account-for-loss-in-pipeline-split": _SWITCH,
}

_PASSED = {
    "rates of learning and their schedule": """lr= lr-decay-style= lr-wsd-decay-style=
        lr-decay-iters= lr-decay-samples= lr-wsd-decay-samples= lr-wsd-decay-iters=
        lr-warmup-fraction= lr-warmup-iters= lr-warmup-samples= lr-warmup-init= min-lr=
        decoupled-lr= decoupled-min-lr= head-lr-mult= override-opt_param-scheduler
        override-opt-param-scheduler use-checkpoint-opt_param-scheduler
        use-checkpoint-opt-param-scheduler""",
    "numbers in an update that is made anyway": """weight-decay= start-weight-decay=
        end-weight-decay= weight-decay-incr-style= clip-grad= adam-beta1= adam-beta2= adam-eps=
        sgd-momentum= loss-scale= initial-loss-scale= min-loss-scale= loss-scale-window=
        hysteresis= moe-router-bias-update-rate= calculate-per-token-loss eod-mask-loss""",
    "how many steps there are, and when they end": """train-iters= train-samples= exit-interval=
        exit-duration-in-mins= exit-signal-handler eval-iters= eval-interval= full-validation
        multiple-validation-sets iterations-to-skip* skip-train test-mode""",
    "logs and measurements": """log-interval= log-params-norm log-num-zeros-in-grad log-throughput
        log-progress log-energy log-straggler log-timers-to-tensorboard
        no-log-loss-scale-to-tensorboard log-validation-ppl-to-tensorboard
        log-memory-to-tensorboard log-world-size-to-tensorboard log-loss-scale-to-tensorboard
        log-batch-size-to-tensorboard
        timing-log-level= timing-log-option= no-barrier-with-level-1-timing tensorboard-dir=
        tensorboard-log-interval= tensorboard-queue-size= wandb-project= wandb-entity=
        wandb-exp-name= wandb-save-dir= logging-level= no-one-logger one-logger-project=
        one-logger-run-name= one-logger-async app-tag-run-name= app-tag-run-version=
        config-logger-dir= moe-per-layer-logging profile profile-step-start= profile-step-end=
        profile-ranks* use-pytorch-profiler record-memory-history memory-snapshot-path=
        disable-straggler-on-startup straggler-ctrlr-port= straggler-minmax-count=
        run-workload-inspector-server result-rejected-tracker-filename=""",
    "checkpoints": """save= save-interval= persistent-save-interval= save-retain-interval=
        no-save-optim no-save-rng load= no-load-optim no-load-rng load-main-params-from-ckpt
        no-strict-fsdp-dtensor-load non-persistent-save-interval= non-persistent-ckpt-type=
        non-persistent-global-ckpt-dir= non-persistent-local-ckpt-dir=
        non-persistent-local-ckpt-algo= finetune pretrained-checkpoint= ckpt-step=
        no-initialization use-checkpoint-args use-mp-args-from-checkpoint-args
        no-use-tokenizer-model-from-checkpoint-args exit-on-missing-checkpoint use-dist-ckpt
        use-persistent-ckpt-worker auto-detect-ckpt-format dist-ckpt-format= ckpt-format=
        ckpt-convert-format= ckpt-convert-save= ckpt-convert-update-legacy-dist-opt-format
        ckpt-fully-parallel-save no-ckpt-fully-parallel-save async-save ckpt-fully-parallel-load
        ckpt-assume-constant-structure dist-ckpt-strictness= dist-ckpt-save-pre-mcore-014
        dist-ckpt-optim-fully-reshardable distrib-optim-fully-reshardable-mem-efficient
        moe-use-upcycling moe-upcycling-granularity= replication replication-jump=
        replication-factor=""",
    "text and its tokens": """data-path* split= train-data-path* valid-data-path* test-data-path*
        data-args-path= per-split-data-args-path= data-cache-path= no-mmap-bin-files mock-data
        num-workers= dataloader-type= sample-rate= mask-prob= short-seq-prob= reset-position-ids
        no-create-attention-mask-in-dataloader num-dataset-builder-threads=
        object-storage-cache-path= mid-level-dataset-surplus= allow-ambiguous-pad-tokens
        vocab-file= merge-file= tokenizer-type= tokenizer-model= tokenizer-metadata=
        tiktoken-pattern= tiktoken-num-special-tokens= tiktoken-special-tokens* legacy-tokenizer
        trust-remote-code disable-msc""",
    "first values of weights": """seed= data-parallel-random-init init-method-std=
        embedding-init-method-std= init-method-xavier-uniform use-cpu-initialization
        init-model-with-meta-device""",
    "constants of norms and positions": """norm-epsilon= apply-layernorm-1p rotary-base=
        rotary-interleaved rotary-seq-len-interpolation-factor= use-rope-scaling
        rope-scaling-factor= rope-type= rotary-scaling-factor= mscale= mscale-all-dim=
        no-position-embedding activation-func-clamp-value= glu-linear-offset=
        apply-query-key-layer-scaling""",
    "how processes start, and what they do when one fails": """distributed-backend=
        distributed-timeout-minutes= distributed-timeout-seconds-after-init= local-rank=
        lazy-mpu-init= disable-gloo-process-groups nccl-communicator-config-path=
        tp-comm-bootstrap-backend= rerun-mode= error-injection-rate= error-injection-type=
        check-weight-hash-across-dp-replicas-interval= inprocess-restart
        inprocess-max-iterations= inprocess-monitor-thread-interval=
        inprocess-monitor-process-interval= inprocess-progress-watchdog-interval=
        inprocess-heartbeat-interval= inprocess-soft-timeout= inprocess-hard-timeout=
        inprocess-heartbeat-timeout= inprocess-barrier-timeout= inprocess-completion-timeout=
        inprocess-last-call-wait= inprocess-termination-grace-time= inprocess-granularity=
        inprocess-active-world-size= inprocess-empty-cuda-cache enable-ft-package
        calc-ft-timeouts adlr-autoresume adlr-autoresume-interval=""",
    "what is so anyway, or has no effect any more": """use-mcore-models
        no-async-tensor-model-parallel-allreduce
        use-contiguous-parameters-in-local-ddp fp8-interval= bert-no-binary-head
        use-te-activation-func te-rng-tracker attention-softmax-in-fp32 moe-grouped-gemm
        moe-router-load-balancing-type* moe-router-force-load-balancing
        moe-token-drop-policy= moe-permute-fusion moe-router-fusion enable-experimental
        no-clone-scatter-output-in-embedding no-gradient-reduce-div-fusion
        use-precision-aware-optimizer ddp-average-in-collective onnx-safe=""",
    "how numbers in fp8 are scaled": """fp8-margin= fp8-amax-history-len= fp8-amax-compute-algo=
        fp8-recipe= fp8-quantizer-factory=""",
    "checks of numbers": """no-check-for-nan-in-loss-and-grad check-for-spiky-loss
        check-for-large-grads""",
}

_UNMODELLED = {
    "matrix products that begin before all of their input is there": """tp-comm-overlap
        tp-comm-overlap-cfg= disable-tp-comm-overlap-ag disable-tp-comm-overlap-rs
        tp-comm-overlap-rs-dgrad disable-tp-comm-bulk-dgrad disable-tp-comm-bulk-wgrad
        disable-tp-comm-split-ag disable-tp-comm-split-rs""",
    "CUDA graphs: what the host takes to issue kernels is kernels.host": """enable-cuda-graph
        external-cuda-graph cuda-graph-impl= cuda-graph-scope= cuda-graph-modules*
        cuda-graph-warmup-steps=""",
    "weight gradients at another time": """defer-embedding-wgrad-compute wgrad-deferral-limit=
        delay-wgrad-compute""",
    "when stages and buckets say something to each other": """no-align-grad-reduce
        no-align-param-gather overlap-param-gather-with-optimizer-step
        overlap-p2p-communication-warmup-flush no-scatter-gather-tensors-in-pipeline
        use-ring-exchange-p2p ddp-num-buckets= ddp-pad-buckets-for-high-nccl-busbw
        ddp-reduce-scatter-with-fp32-accumulation fsdp-double-buffer
        suggested-communication-unit-size= enable-full-sharding-in-hsdp""",
    "how a collective library is set up": """use-nccl-ub disable-symmetric-registration use-sharp
        sharp-enabled-group= high-priority-stream-groups* pipeline-model-parallel-comm-backend=
        moe-deepep-num-sms= moe-flex-dispatcher-backend= moe-hybridep-num-sms=""",
    "weights and gradients in fp8": """fp8-param-gather no-fp8-wgrad keep-fp8-transpose-cache
        reuse-grad-buf-for-mxfp8-param-ag first-last-layers-bf16 num-layers-at-start-in-bf16=
        num-layers-at-end-in-bf16= moe-router-padding-for-fp8
        moe-router-padding-for-quantization""",
    "other kernels than kernels: names": """no-bias-gelu-fusion no-bias-dropout-fusion
        no-persist-layer-norm use-fused-weighted-squared-relu cross-entropy-fusion-impl=
        moe-use-legacy-grouped-gemm moe-router-dtype= moe-apply-probs-on-input
        fp16-lm-cross-entropy disable-bf16-reduced-precision-matmul deterministic-mode""",
    "who waits for whom beside tokens on their way": """moe-shared-expert-overlap
        moe-pad-expert-input-to-capacity moe-input-jitter-eps=""",
    "pauses between steps": """manual-gc manual-gc-interval= no-manual-gc-eval
        empty-unused-memory-level= train-sync-interval=""",
    "batches that grow, or fit fewer devices": """rampup-batch-size*
        decrease-batch-size-if-needed""",
    "offload in other ways than strategy.offload": """cpu-offloading-num-layers=
        optimizer-offload-fraction= use-torch-optimizer-for-cpu-offload
        overlap-cpu-optimizer-d2h-h2d fine-grained-activation-offloading offload-modules*
        no-pin-cpu-grads no-pin-cpu-params
        distribute-saved-activations""",
}

_REFUSED = {
    "another model than a decoder with rotary positions": """encoder-num-layers=
        decoder-num-layers= encoder-seq-length= decoder-seq-length= squared-relu openai-gelu
        apply-residual-connection-post-layernorm mrope-section* mtp-num-layers=
        mtp-loss-scaling-factor= spec* heterogeneous-layers-config-path=
        heterogeneous-layers-config-encoded-json= hybrid-attention-ratio= hybrid-mlp-ratio=
        hybrid-override-pattern= hybrid-layer-pattern= is-hybrid-model moe-latent-size=
        experimental-attention-variant= attention-output-gate mamba-state-dim= mamba-head-dim=
        mamba-num-groups= mamba-num-heads= disable-mamba-mem-eff-path retro-project-dir=
        retro-add-retriever vision-pretraining vision-pretraining-type= vision-backbone-type=
        fp32-residual-connection""",
    "another arrangement of the pipeline; decoder-first-pipeline-num-layers and "
    "decoder-last-pipeline-num-layers are modelled": "pipeline-model-parallel-layout=",
    "fp4": "fp4-format= fp4-recipe= fp4-quantizer-factory= fp4-param-gather",
    "Megatron-DeepSpeed's: write use-distributed-optimizer or use-torch-fsdp2 for its stages": """
        deepspeed deepspeed_config= deepspeed-config= zero-stage= no-pipeline-parallel
        deepspeed-activation-checkpointing ds-sequence-parallel-size=""",
    "no step of pretraining": "perform-rl-step sft inference-dynamic-batching",
    "whole layers of experts run again; recompute-granularity full is modelled": (
        "moe-layer-recompute"
    ),
    "a file with further flags, which is not read; write these": "yaml-cfg=",
    "no longer valid in Megatron-LM itself; it names micro-batch-size, "
    "tensor-model-parallel-size, recompute-activations and expert-tensor-parallel-size": """
        batch-size= model-parallel-size= checkpoint-activations warmup= moe-extended-tp
        use-legacy-models""",
}

FLAGS: dict[str, Flag] = {
    **_MODEL,
    **_EXPERTS,
    **_STEP,
    **_MESH,
    **named("passed", _PASSED),
    **named("unmodelled", _UNMODELLED),
    **named("refused", _REFUSED),
}
