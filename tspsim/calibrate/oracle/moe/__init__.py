"""Layers with experts as their families define them, tokens travelling, under a fake process group.

``python -m tspsim.calibrate.oracle.moe FOLDER`` counts, rank by rank and at full size, the flops of
one layer's training step and the bytes of its all-to-alls, as torch counts them. The block is the
family's own (`block`), the experts lie on all ranks, every rank has its own tokens: what
``strategy: {kind: fsdp, zero: 0, experts: {over: [dp]}}`` is in a scenario. `simulated` has the
same numbers of the program that would be simulated.
"""
