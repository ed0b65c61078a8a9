"""The sections of a scenario as classes of Python; which keys they have, the forms of files say.

What editors and type checkers read is ``typed.pyi``, made from these by ``python docs/refresh.py
python``.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

from tspsim.files.arguments import checked
from tspsim.registry import STRATEGIES, TOPOLOGIES
from tspsim.scenario import disturbances, experts, inference, schema
from tspsim.scenario.stated import Stated
from tspsim.strategies.base import StrategyOptions
from tspsim.strategies.parts.sharing import Blocks as BlocksForm
from tspsim.strategies.parts.spread import Spread as SpreadForm
from tspsim.strategies.parts.stages import Pipeline as PipelineForm
from tspsim.topology.forms import DeviceForm, LinkForm, ProfileForm
from tspsim.topology.generators.custom import LinkLine


class Router(Stated, forms=(experts.RouterKeys,)):
    """How much each of a token's experts counts: ``Experts(router=...)``."""


class Experts(Stated, forms=(experts.ExpertsKeys,)):
    """A mixture of experts, in place of the MLP: ``Model(experts=...)``."""


class Latent(Stated, forms=(schema.LatentKeys,)):
    """Latent attention: keys and values come from one vector a token: ``Model(latent=...)``."""


class Model(Stated, forms=(schema.ModelKeys,), named="hf"):
    """The model: a shipped name or a config.json of Hugging Face, its shape, or one with changes.

    ``Model("llama-3-8b", layers=2)`` has two layers of that shape.
    """

    @classmethod
    @checked
    def from_hf(cls, path: str | PathLike[str], **changes: Any) -> Model:
        """Return the model of a config.json, or of the folder that it lies in, with changes."""
        return cls(path, **changes)


class Routing(Stated, forms=(experts.RoutingKeys,)):
    """How tokens spread over experts: ``Workload(routing=...)``."""


class Cache(Stated, forms=(inference.CacheKeys,)):
    """How keys and values are kept: ``Workload(cache=...)``."""


class Weights(Stated, forms=(inference.WeightKeys,)):
    """What a layer's matrices are kept in, and multiply: ``Workload(weights=...)``."""


class Workload(Stated, forms=(schema.WorkloadKeys,), also={"routing": ("str",)}):
    """What one step processes."""


class Kernels(Stated, forms=(schema.KernelsKeys,), named="preset"):
    """Which kernels a framework runs: a preset's name, its parts, or one with changes."""


class BytesPerParameter(Stated, forms=(schema.BytesPerParameter,), others="float"):
    """Resident bytes of a parameter; any further name is one more state."""


class Optimizer(Stated, forms=(schema.OptimizerKeys,)):
    """What the optimizer keeps."""


class Memory(Stated, forms=(schema.MemoryKeys,)):
    """What the runtime and libraries keep on every device, and who gives buffers their places."""


class Profile(Stated, forms=(ProfileForm,), named="file"):
    """The constants that turn work into time: a shipped name or a file, with changes, or its keys.

    ``Timing(profile=...)`` or ``Device(profile=...)``.
    """


class Timing(Stated, forms=(schema.TimingKeys,), also={"profile": ("str", "Profile")}):
    """The constants that turn work into time; not given: the device's own."""


class Network(Stated, forms=(schema.NetworkKeys,)):
    """How collectives load the links."""


class Engine(Stated, forms=(schema.EngineKeys,)):
    """How much is simulated."""


class SlowDevice(Stated, forms=(disturbances.SlowDeviceKeys,)):
    """A device that computes more slowly than it states: ``Disturbances(slow_devices=[...])``."""


class ChangedLink(Stated, forms=(disturbances.ChangedLinkKeys,)):
    """A link that is slower than stated, or lost: ``Disturbances(links=[...])``."""


class Distribution(Stated, forms=(disturbances.DistributionKeys,)):
    """How the factor by which a duration is multiplied is drawn."""


class Jitter(Stated, forms=(disturbances.JitterKeys,)):
    """Durations that differ from task to task by chance: ``Disturbances(jitter=...)``."""


class Failure(Stated, forms=(disturbances.FailureKeys,)):
    """A device that fails at a stated time of the job: ``Disturbances(failures=[...])``."""


class Checkpoint(Stated, forms=(disturbances.CheckpointKeys,)):
    """What a checkpoint costs, and how often it is written: ``Reliability(checkpoint=...)``."""


class Reliability(Stated, forms=(disturbances.ReliabilityKeys,)):
    """How often devices fail, and what the job does about it: ``Disturbances(reliability=...)``."""


class Disturbances(Stated, forms=(disturbances.DisturbancesKeys,)):
    """What does not go to plan."""


class Link(Stated, forms=(LinkForm, LinkLine), partial=True):
    """A connection, per direction; ``from_``, ``to`` and ``both`` are of custom topologies."""


class Device(Stated, forms=(DeviceForm,), named="file"):
    """A device: a shipped name or a file, with changes, or its keys."""


class Topology(Stated, forms=tuple(map(TOPOLOGIES.get, TOPOLOGIES.names())), named="file"):
    """The hardware: a shipped name or a file, with changes, or a kind and its keys.

    ``Topology("h100-node", ranks=4)`` has four of its devices.
    """


class Blocks(Stated, forms=(BlocksForm,)):
    """Blocks of neighbouring replicas that share, each all of it: ``TP(shard=...)``."""


class Spread(Stated, forms=(SpreadForm,)):
    """Where experts lie, and what travels between them and the tokens: ``TSP(experts=...)``."""


class Pipeline(Stated, forms=(PipelineForm,)):
    """Stages of a pipeline, under any strategy: ``TSP(pp=...)``."""


class Strategy(Stated, forms=(StrategyOptions,), others="Any"):
    """The strategy of a kind, such as one of another package; `others` are its own options."""


class TSP(Strategy, forms=(STRATEGIES.get("tsp"),), kind="tsp"):
    """Tensor and sequence parallelism on the same ranks."""


class TP(Strategy, forms=(STRATEGIES.get("tp"),), kind="tp"):
    """Tensor parallelism, as of Megatron-LM."""


class SP(Strategy, forms=(STRATEGIES.get("sp"),), kind="sp"):
    """Sequence parallelism: every rank has all weights, and a part of the tokens."""


class TPSP(Strategy, forms=(STRATEGIES.get("tp_sp"),), kind="tp_sp"):
    """Tensor and sequence parallelism on two axes."""


class FSDP(Strategy, forms=(STRATEGIES.get("fsdp"),), kind="fsdp"):
    """Fully sharded data parallelism: ``dp`` replicas that share all weights."""
