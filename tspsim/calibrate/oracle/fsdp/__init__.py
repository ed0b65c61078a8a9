"""FSDP2 as torch runs it, under a fake process group: its events in order, and its peak by kind.

``python -m tspsim.calibrate.oracle.fsdp FOLDER`` writes the records of `config.SUITE`. What follows
was observed in them (torch 2.13.0), or, where it says so, read in torch's source.

One group per layer, gathered and reduced in one message each; the root group is what is left:
embedding, final norm, head (one tensor when they are tied).

**Forward**, group after group: ``all_gather(i)``, wait and copy out (``unshard``), compute,
``reshard``. Nothing is issued ahead: the gather of i + 1 follows the compute of i in the order of
issue, and overlaps with it only because a CPU runs ahead of its device, on streams for copy-in and
gather that do not wait for compute (read). The root is gathered first of all, before the embedding,
and keeps its weights until its own reduction: its `reshard_after_forward` of None means False.
The layers' None means True.

**Backward** begins with the gather of the last layer, before the head's backward (the loss is
outside of the plain model). Layer i: wait for its weights, copy out, issue the gather of i - 1
(exactly one ahead; nothing ahead of the first layer), compute, reshard, ``reduce_scatter(i)``, and
under HSDP its ``all_reduce`` at once. With nothing outside the layers (``vocab: 0``) the last layer
is gathered when its own backward begins. With `reshard_after_forward` False nothing is gathered in
backward, and weights are let go before their reduction. The root is reduced last, after all of
backward: embedding, final norm and head in one message.

**Accumulation**, gradients reduced in the last micro-batch only: the others gather all the same
(the root, too), reshard, and keep whole gradients, in the weights' type; where `reduce_dtype` is
another, in that one, converted after the weights are let go. The last micro-batch adds to them.

**Sizes**. Per tensor, dim 0 is padded to N times ``ceil(rows / N)``, and a shard is one tensor's
part after another's: the gathered message is N times the sum of padded parts, in the gathered type
(`param_dtype`, or the stored one). A reduce_scatter has the same elements in `reduce_dtype` (or the
gradients' type), an all_reduce a shard of those. Every rank stores its shard padded, and gets its
gradient padded; optimizer states are not: the last ranks have less of them. ``reshard: n``: the
gather in backward is over n neighbours, of the same bytes; all other messages are over N.

**Bytes alive**, of a group whose gathered bytes are W, whose gradients' G, whose reduction's R:

- the gather has one buffer of W, its input is a part of it; only when the gathered type is not the
  stored one there is a copy of the shard, W/N, during copy-in;
- copy out allocates the weights, W more. In forward the buffer stays until the next group's copy
  out, or the end of forward: 2 W while a group computes, and while the next one's is on its way.
  In backward it is freed at copy out: W of layer i, and W of i - 1 on its way; parts that were
  kept after forward (``reshard: n``) live until they have been copied out, too;
- the reduction first lets go of the weights, then of the input R of the layer before it (i + 1),
  which is kept until here; allocates its input R beside the gradients G; copies; lets go of G;
  allocates its output, R/N. The input stays until the next reduction, or the end of backward;
- the output is the sharded gradient. Where `reduce_dtype` is not the stored type, a copy in the
  stored type is, and the output is let go; under HSDP at the end of backward (read).

So while layer i runs backward there are W of its own, W of the next on its way, R of the last one's
input, and its gradients as they come. The optimizer's step begins with sharded gradients alone.
"""
