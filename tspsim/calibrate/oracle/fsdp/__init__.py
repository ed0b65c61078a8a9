"""FSDP2 as torch runs it, under a fake process group: its events in order, and its peak by kind.

``python -m tspsim.calibrate.oracle.fsdp FOLDER`` writes the records of `config.SUITE`. What follows
was observed in them (torch 2.13.0), or, where it says so, read in torch's source.

One group per layer, gathered and reduced in one message each; the root group is what is left:
embedding, final norm, head (one tensor when they are tied).

**Forward**, group after group: ``all_gather(i)``, wait, copy out (``unshard``), compute, ``reshard``.
Nothing is issued ahead: the gather of i + 1 follows the compute of i in the order of issue, and
overlaps with it only because a CPU runs ahead of its device, on streams for copy-in and gather that
do not wait for compute (read). The root is gathered first of all, before the embedding, and keeps
its weights until its own reduction: its `reshard_after_forward` of None is False. That of the
layers, None, is True.

**Backward**: the root's begins with the gather of the last layer, before the head's backward (the
loss is outside of the plain model). Layer i: wait for its weights, copy out, issue the gather of
i - 1 (exactly one ahead, none ahead of the first layer, none of the root), compute, reshard, reduce
``reduce_scatter(i)``, under HSDP its ``all_reduce`` at once. With nothing outside the layers
(``vocab: 0``) the last layer's gather is nobody's prefetch. With `reshard_after_forward` False
nothing is gathered in backward, and `reshard` follows backward alone. The root is reduced last, when
all of backward is over, embedding and head in one message.

**Accumulation**, gradients reduced in the last micro-batch only: the others gather all the same, the
root once more per micro-batch, reshard, and keep whole gradients, N times a shard, in the
weights' type; where `reduce_dtype` is another, they are kept in that one.

**Sizes**. Per tensor, dim 0 is padded to N times ``ceil(rows / N)`` and the shards lie one tensor
after another: the gathered message is N times the sum of padded shards, in the gathered type
(`param_dtype`, or the stored one). reduce_scatter has the same elements in `reduce_dtype` (or the
gradients' type), all_reduce a shard of them. Sharded weights and their optimizer states: the
stored shard includes its padding, on every rank, the states do not. n of ``reshard: n``: the
gather in backward is over n neighbours, of the same bytes; all other messages are over N.

**Bytes alive** of a group, W its gathered bytes, G its gradients' and R its reduction's:

- gather: one buffer W, of which the input is a part; no other copy of the shard, but of 1/N in the
  gathered type during copy-in when that is not the stored one;
- copy out: weights of W more. In forward the buffer stays until the next group's copy out, or the
  end of forward: 2 W per group while it computes, and W of the last beside W of the next while
  that one is on its way. In backward it is freed at copy out: W of i, and of i - 1 on its way;
- ``reshard`` frees weights; with n it first copies 1/n of them, kept until backward's copy out;
- reduction: weights are let go first, then the input R of the layer before (i + 1), kept until now;
  input R is allocated beside the gradients G, copied into, G let go, output R/N allocated;
- the output is the sharded gradient, as a view; where `reduce_dtype` is not the stored type a copy in
  the stored type is, and the output is let go (under HSDP held until the end of backward, read);
- the last input R goes at the very end of backward, as do root's gradients only at its reduction.

So a layer's backward holds W (its own), W (the next on its way), R (the last one's input) and its
gradients as they come. The optimizer's step begins with sharded gradients alone.
"""
