"""TSP, TP, SP and TP+SP in plain torch.distributed, written from the design alone.

A small decoder, forward and backward, that runs on gloo and NCCL alike::

    mesh = reference.connect(job)          # every rank, once per shape of the mesh
    model = reference.build(job, mesh)     # this rank's part
    model.load(reference.initial(job.shape, job.torch_dtype))
    loss = model.step(model.local(tokens), model.local(targets))

`Dense` is the same model by the definition, with autograd, on one process: what all of this is
compared with. On gloo everything is tested; NCCL and CUDA take the same code, and are not yet.

What to read: `tsp` is TSP, `tp_sp` the others, `mixture` experts on TSP's ranks; `blocks` is what
stays on a rank, `exchange` how K and V meet queries, `attention` the core, `decoder` the step.
Around these: `inference` runs prompts and what follows them against a cache (`places` says what
lies where, `cached` how queries meet it), `pipeline` runs stages in the order of 1F1B or ZB-H1,
`sharded` has torch's FSDP2 shard the weights over replicas.
"""

from __future__ import annotations

from tspsim.calibrate.reference.config import Job, Shape
from tspsim.calibrate.reference.decoder import Decoder, Layer
from tspsim.calibrate.reference.dense import Dense, initial
from tspsim.calibrate.reference.inference import Inference
from tspsim.calibrate.reference.mesh import Mesh, connect
from tspsim.calibrate.reference.mixture import TokensTravel, WeightsTravel
from tspsim.calibrate.reference.pipeline import (
    Schedule,
    Stage,
    one_forward_one_backward,
    zero_bubble_h1,
)
from tspsim.calibrate.reference.sharded import Sharded
from tspsim.calibrate.reference.tp_sp import MeshLayer
from tspsim.calibrate.reference.tsp import TspLayer
from tspsim.calibrate.reference.weights import shard
from tspsim.files.errors import UserError

__all__ = [
    "Decoder", "Dense", "Inference", "Job", "Mesh", "Shape", "Sharded", "Stage", "build",
    "build_sharded", "build_stage", "connect", "initial", "one_forward_one_backward", "shard",
    "zero_bubble_h1",
]  # fmt: skip


def build(job: Job, mesh: Mesh | None = None, device: str = "cpu") -> Decoder:
    """Return this rank's part of the model; weights are zero until `load` is called.

    Parameters
    ----------
    job : Job
    mesh : Mesh, optional
        From `connect`, for a job with the same degrees; none is needed on one rank.
    device : str

    Returns
    -------
    Decoder
    """
    return Decoder(job, mesh or Mesh(), _layer(job), device)


def build_stage(
    job: Job,
    mesh: Mesh,
    batches: int,
    schedule: Schedule = one_forward_one_backward,
    device: str = "cpu",
) -> Stage:
    """Return this rank's part of its stage, which runs so many micro-batches.

    Parameters
    ----------
    job : Job
        Of the whole model and the whole batch.
    mesh : Mesh
        From `connect`, with as many meshes beside each other as there are stages.
    batches : int
    schedule : callable
    device : str

    Returns
    -------
    Stage
    """
    return Stage(job, mesh, _dense_layer(job), batches, schedule, device)


def build_sharded(job: Job, mesh: Mesh, device: str = "cpu") -> Sharded:
    """Return this rank's part of a replica; `load` and then `shard` it.

    Parameters
    ----------
    job : Job
        Of one replica.
    mesh : Mesh
        From `connect`, with as many meshes beside each other as there are replicas.
    device : str

    Returns
    -------
    Sharded
    """
    return Sharded(job, mesh, _dense_layer(job), device)


def _layer(job: Job) -> type[Layer]:
    if job.shape.experts:
        return TokensTravel if job.travels == "tokens" else WeightsTravel
    return TspLayer if job.strategy == "tsp" else MeshLayer


def _dense_layer(job: Job) -> type[Layer]:
    """Return the layer of a job whose layers have MLPs.

    Raises
    ------
    UserError
        When they have experts: their routes are those of the whole batch.
    """
    if job.shape.experts:
        raise UserError("experts: in stages and sharded replicas there are none; take build()")
    return _layer(job)
