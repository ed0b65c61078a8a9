"""The sections of a scenario as classes: made by ``python docs/refresh.py python``."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal

from tspsim.scenario.stated import Stated


class Blocks(Stated):
    """Blocks of neighbouring replicas that share, each all of it: ``TP(shard=...)``.

    Parameters
    ----------
    degree : int
        replicas of a block
    """

    def __init__(
        self,
        *,
        degree: int,
    ) -> None: ...


class BytesPerParameter(Stated):
    """Resident bytes of a parameter; any further name is one more state.

    Parameters
    ----------
    weight : int, optional
    gradient : int, optional
    master : float, optional
    moments : float, optional
    """

    def __init__(
        self,
        *,
        weight: int = 2,
        gradient: int = 4,
        master: float = 4.0,
        moments: float = 8.0,
        **others: float,
    ) -> None: ...


class Cache(Stated):
    """How keys and values are kept: ``Workload(cache=...)``.

    Parameters
    ----------
    dtype : Literal['', 'bf16', 'fp16', 'fp8', 'fp32'], optional
        type of keys and values in the cache (default: dtype)
    block : int, optional
        tokens of a page, reserved whole
    """

    def __init__(
        self,
        *,
        dtype: Literal['', 'bf16', 'fp16', 'fp8', 'fp32'] = '',
        block: int = 16,
    ) -> None: ...


class ChangedLink(Stated):
    """A link that is slower than stated, or lost: ``Disturbances(links=[...])``.

    Parameters
    ----------
    link : Sequence[int | str]
        its two ends: numbers of devices, names of switches and NICs
    speed : float | None, optional
        fraction of its bandwidth
    bandwidth : str | None, optional
        in place of its bandwidth
    latency : str | None, optional
        in place of its latency
    lost : bool, optional
        it carries nothing: routes go another way
    one_way : bool, optional
        only from the first end to the second
    """

    def __init__(
        self,
        *,
        link: Sequence[int | str],
        speed: float | None = None,
        bandwidth: str | None = None,
        latency: str | None = None,
        lost: bool = False,
        one_way: bool = False,
    ) -> None: ...


class Checkpoint(Stated):
    """What a checkpoint costs, and how often it is written: ``Reliability(checkpoint=...)``.

    Parameters
    ----------
    interval : str | None, optional
        useful work between two of them (default: the best by Daly's formula)
    time : str | None, optional
        for which the job stands still
    bandwidth : str | None, optional
        of one rank to the storage, in place of 'time'
    bytes : str | None, optional
        that one rank writes (default: its weights and optimizer states)
    """

    def __init__(
        self,
        *,
        interval: str | None = None,
        time: str | None = None,
        bandwidth: str | None = None,
        bytes: str | None = None,
    ) -> None: ...


class Device(Stated):
    """A device: a shipped name or a file, with changes, or its keys.

    Parameters
    ----------
    file : str | PathLike[str], optional
        a file, or the name of a shipped one
    name : str, optional
    flop_rate : Mapping[str, str], optional
        Peak dense rate; never a figure that assumes sparsity.
    memory_bandwidth : str, optional
    memory : str, optional
        Capacity.
    source : str | Mapping[str, str], optional
        Where the numbers come from: one text, or one text by key
    reserved : str, optional
        What the runtime keeps for itself.
    blas : str, optional
        Workspace of a BLAS handle, in the libraries that frameworks use on it.
    communicator : str, optional
        Buffers that a communicator of the collective library keeps there.
    launch : str, optional
        Overhead of every compute op, where the profile states none.
    host_link : str | None, optional
        One way between the device and its host, and of the device's share of the host's memory.
    host_memory : str | None, optional
        One way between the device and its host, and of the device's share of the host's memory.
    price : str | None, optional
        Dollars per device hour.
    profile : str | Profile | Mapping[str, Any], optional
        Used where the scenario names none.
    """

    def __init__(
        self,
        file: str | PathLike[str] = ...,
        *,
        name: str = ...,
        flop_rate: Mapping[str, str] = ...,
        memory_bandwidth: str = ...,
        memory: str = ...,
        source: str | Mapping[str, str] = '',
        reserved: str = ...,
        blas: str = ...,
        communicator: str = ...,
        launch: str = ...,
        host_link: str | None = None,
        host_memory: str | None = None,
        price: str | None = None,
        profile: str | Profile | Mapping[str, Any] = 'datasheet',
    ) -> None: ...


class Distribution(Stated):
    """How the factor by which a duration is multiplied is drawn.

    Parameters
    ----------
    kind : Literal['lognormal', 'exponential', 'uniform']
        lognormal: mean 1; exponential: 1 and more; uniform: between two bounds
    sigma : float | None, optional
        lognormal: standard deviation of the factor's logarithm
    mean : float | None, optional
        exponential: mean of what is added
    low : float | None, optional
        uniform: least factor
    high : float | None, optional
        uniform: greatest factor
    """

    def __init__(
        self,
        *,
        kind: Literal['lognormal', 'exponential', 'uniform'],
        sigma: float | None = None,
        mean: float | None = None,
        low: float | None = None,
        high: float | None = None,
    ) -> None: ...


class Disturbances(Stated):
    """What does not go to plan.

    Parameters
    ----------
    seed : int, optional
        of all that is drawn by chance
    slow_devices : Sequence[SlowDevice | Mapping[str, Any]], optional
        devices that compute slowly
    links : Sequence[ChangedLink | Mapping[str, Any]], optional
        links that are slow or lost
    jitter : Jitter | Mapping[str, Any] | None, optional
        durations that differ by chance
    failures : Sequence[Failure | Mapping[str, Any]], optional
        devices that fail at a stated time
    reliability : Reliability | Mapping[str, Any] | None, optional
        failures by chance, checkpoints and restarts: for 'tspsim goodput'
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        slow_devices: Sequence[SlowDevice | Mapping[str, Any]] = ...,
        links: Sequence[ChangedLink | Mapping[str, Any]] = ...,
        jitter: Jitter | Mapping[str, Any] | None = None,
        failures: Sequence[Failure | Mapping[str, Any]] = ...,
        reliability: Reliability | Mapping[str, Any] | None = None,
    ) -> None: ...


class Engine(Stated):
    """How much is simulated.

    Parameters
    ----------
    fold : Literal['auto', 'off'], optional
        simulate equal ranks once, or all
    """

    def __init__(
        self,
        *,
        fold: Literal['auto', 'off'] = 'auto',
    ) -> None: ...


class Experts(Stated):
    """A mixture of experts, in place of the MLP: ``Model(experts=...)``.

    Parameters
    ----------
    count : int
        experts of a layer
    active : int
        experts that a token goes to
    width : int | None, optional
        of one expert's MLP (default: model.ffn)
    shared : int, optional
        width, in all, of the experts that all tokens go to
    shared_gate : bool, optional
        what these give is weighted by a gate
    first_dense : int, optional
        layers in front with an MLP
    every : int, optional
        of the others, every so-manieth layer has experts
    biases : bool, optional
        router and experts add biases
    router : Router | Mapping[str, Any], optional
    """

    def __init__(
        self,
        *,
        count: int,
        active: int,
        width: int | None = None,
        shared: int = 0,
        shared_gate: bool = False,
        first_dense: int = 0,
        every: int = 1,
        biases: bool = False,
        router: Router | Mapping[str, Any] = ...,
    ) -> None: ...


class Failure(Stated):
    """A device that fails at a stated time of the job: ``Disturbances(failures=[...])``.

    Parameters
    ----------
    device : int
        its number
    at : str
        time from the start of the job
    """

    def __init__(
        self,
        *,
        device: int,
        at: str,
    ) -> None: ...


class Jitter(Stated):
    """Durations that differ from task to task by chance: ``Disturbances(jitter=...)``.

    Parameters
    ----------
    compute : Distribution | Mapping[str, Any] | None, optional
        of every compute task of a rank
    links : Distribution | Mapping[str, Any] | None, optional
        of every collective call, and of every hop of a shift
    """

    def __init__(
        self,
        *,
        compute: Distribution | Mapping[str, Any] | None = None,
        links: Distribution | Mapping[str, Any] | None = None,
    ) -> None: ...


class Kernels(Stated):
    """Which kernels a framework runs: a preset's name, its parts, or one with changes.

    Parameters
    ----------
    preset : Literal['torch-compile', 'torch-eager', 'megatron-core', 'megatron-2022', 'serving', 'ideal'], optional
        whose kernels those are that are not named here
    attention : Literal['flash-2', 'flash-3', 'cudnn', 'unfused'] | None, optional
        unfused: scores stay in memory
    softmax : Literal['fused', 'separate'] | None, optional
        separate: in fp32, of unfused attention
    norm : Literal['fused', 'separate'] | None, optional
        separate: an RMSNorm of single tensor ops
    activation : Literal['fused', 'separate'] | None, optional
        separate: silu and product apart
    rotary : Literal['fused', 'separate'] | None, optional
        separate: rotate_half as it is written
    dropout : bool | None, optional
        masks behind embedding, blocks and softmax
    loss : Literal['fused', 'in-place', 'fp32', 'chunked'] | None, optional
        fp32: every buffer of torch's cross-entropy
    residual : Literal['fused', 'separate'] | None, optional
        separate: gradients of norm and stream are added by their own kernel
    accumulation : Literal['fused', 'separate'] | None, optional
        separate: dW is added by its own kernel
    recomputed : Literal['least', 'autograd'] | None, optional
        what recomputation leaves in memory
    launch : str | None, optional
        time of every kernel beside its work
    host : str | None, optional
        time to issue the forward of one layer
    replayed : str | None, optional
        time of the smallest kernel of a replayed graph; 0: called from Python (default: in
        inference alone)
    pace : float | None, optional
        share of its kernels' speed at which a step runs
    all_reduce : Literal['nccl', 'custom'] | None, optional
        custom: the kernels of serving libraries; left out: in inference alone
    """

    def __init__(
        self,
        preset: Literal['torch-compile', 'torch-eager', 'megatron-core', 'megatron-2022', 'serving', 'ideal'] = ...,
        *,
        attention: Literal['flash-2', 'flash-3', 'cudnn', 'unfused'] | None = None,
        softmax: Literal['fused', 'separate'] | None = None,
        norm: Literal['fused', 'separate'] | None = None,
        activation: Literal['fused', 'separate'] | None = None,
        rotary: Literal['fused', 'separate'] | None = None,
        dropout: bool | None = None,
        loss: Literal['fused', 'in-place', 'fp32', 'chunked'] | None = None,
        residual: Literal['fused', 'separate'] | None = None,
        accumulation: Literal['fused', 'separate'] | None = None,
        recomputed: Literal['least', 'autograd'] | None = None,
        launch: str | None = None,
        host: str | None = None,
        replayed: str | None = None,
        pace: float | None = None,
        all_reduce: Literal['nccl', 'custom'] | None = None,
    ) -> None: ...


class Latent(Stated):
    """Latent attention: keys and values come from one vector a token: ``Model(latent=...)``.

    Parameters
    ----------
    kv_rank : int
        width of the latent of keys and values
    nope : int
        width of a head's queries and keys without positions
    rope : int
        width with positions; of keys it is one for all heads
    value : int
        width of a head's values
    q_rank : int | None, optional
        width of the latent of queries (default: they have none)
    """

    def __init__(
        self,
        *,
        kv_rank: int,
        nope: int,
        rope: int,
        value: int,
        q_rank: int | None = None,
    ) -> None: ...


class Link(Stated):
    """A connection, per direction; ``from_``, ``to`` and ``both`` are of custom topologies.

    Parameters
    ----------
    bandwidth : str, optional
    latency : str, optional
    source : str | Mapping[str, str], optional
        Where the numbers come from: one text, or one text by key
    from_ : str, optional
        Vertices (``from:`` and ``to:`` in YAML): ``d0``, ``d1``... are the devices in the order of
        `devices`; any other name is a switch.
    to : str, optional
        Vertices (``from:`` and ``to:`` in YAML): ``d0``, ``d1``... are the devices in the order of
        `devices`; any other name is a switch.
    both : bool, optional
        Both directions (the default), or only this one.
    """

    def __init__(
        self,
        *,
        bandwidth: str = ...,
        latency: str = ...,
        source: str | Mapping[str, str] = '',
        from_: str = ...,
        to: str = ...,
        both: bool = True,
    ) -> None: ...


class Memory(Stated):
    """What the runtime and libraries keep on every device, and who gives buffers their places.

    Parameters
    ----------
    reserved : str | None, optional
        kept by the runtime on every device, such as 2 GiB
    blas : str | None, optional
        workspace of a BLAS handle, such as 32 MiB
    communicator : str | None, optional
        buffers of the collective library, for every communicator
    allocator : Literal['exact', 'torch'], optional
        buffers take their own bytes, or segments of torch's allocator
    """

    def __init__(
        self,
        *,
        reserved: str | None = None,
        blas: str | None = None,
        communicator: str | None = None,
        allocator: Literal['exact', 'torch'] = 'exact',
    ) -> None: ...


class Model(Stated):
    """The model: a shipped name or a config.json of Hugging Face, its shape, or one with changes.

    ``Model("llama-3-8b", layers=2)`` has two layers of that shape.

    Parameters
    ----------
    hf : str | PathLike[str], optional
        a file, or the name of a shipped one
    hidden : int, optional
        width of the residual stream
    layers : int, optional
        number of decoder layers
    heads : int, optional
        number of query heads
    ffn : int, optional
        width of the MLP, of layers that have one
    vocab : int, optional
        size of the vocabulary (0: no embedding, head and loss)
    kv_heads : int | None, optional
        number of key/value heads (default: heads)
    head_dim : int | None, optional
        width of one head (default: hidden / heads)
    mlp : Literal['gated', 'plain'], optional
        a gated MLP or GELU
    gate : Literal['silu', 'gelu'], optional
        of a gated MLP: SwiGLU or GeGLU
    norm : Literal['rmsnorm', 'layernorm'], optional
    norm_at : Literal['before', 'behind', 'both'], optional
        norms of the blocks' inputs, of their outputs, or of both
    tied : bool, optional
        the head uses the embedding's matrix
    qkv_bias : bool, optional
        query, key and value projections add a bias
    attention_bias : bool, optional
        all four projections of attention add one
    mlp_bias : bool, optional
        all matrices of the MLP add one
    qk_norm : Literal['head', 'whole', 'plain'] | None, optional
        queries and keys get a norm: every head, the whole projection, or every head with positions
        and without a weight
    window : int | Sequence[int | None] | None, optional
        keys that a query sees, its own included (default: all); a list: layer by layer, again from
        the first on where it ends
    rotary : int | None, optional
        elements of a head that positions turn (default: all)
    unturned : int | None, optional
        of so many layers the last has no positions (default: all have them)
    chunk : int | None, optional
        tokens of the blocks that attention does not look out of: no longer sequences are simulated
        (default: there are none)
    sinks : bool, optional
        every softmax has one more score, a number per head
    score_cap : float | None, optional
        soft cap of attention's scores
    logit_cap : float | None, optional
        soft cap of the logits
    scaled_embedding : bool, optional
        embeddings are multiplied by the root of their width
    experts : Experts | Mapping[str, Any] | None, optional
        a mixture of experts, in some layers
    latent : Latent | Mapping[str, Any] | None, optional
        latent attention: keys and values come from one vector a token
    """

    def __init__(
        self,
        hf: str | PathLike[str] = ...,
        *,
        hidden: int = ...,
        layers: int = ...,
        heads: int = ...,
        ffn: int = ...,
        vocab: int = ...,
        kv_heads: int | None = None,
        head_dim: int | None = None,
        mlp: Literal['gated', 'plain'] = 'gated',
        gate: Literal['silu', 'gelu'] = 'silu',
        norm: Literal['rmsnorm', 'layernorm'] = 'rmsnorm',
        norm_at: Literal['before', 'behind', 'both'] = 'before',
        tied: bool = False,
        qkv_bias: bool = False,
        attention_bias: bool = False,
        mlp_bias: bool = False,
        qk_norm: Literal['head', 'whole', 'plain'] | None = None,
        window: int | Sequence[int | None] | None = None,
        rotary: int | None = None,
        unturned: int | None = None,
        chunk: int | None = None,
        sinks: bool = False,
        score_cap: float | None = None,
        logit_cap: float | None = None,
        scaled_embedding: bool = False,
        experts: Experts | Mapping[str, Any] | None = None,
        latent: Latent | Mapping[str, Any] | None = None,
    ) -> None: ...
    @classmethod
    def from_hf(cls, path: str | PathLike[str], **changes: Any) -> Model: ...


class Network(Stated):
    """How collectives load the links.

    Parameters
    ----------
    detail : Literal['coflow', 'steps'], optional
        one coflow per collective, or every one of its sends
    sharing : Literal['fair', 'fifo'], optional
        flows share a link max-min fairly, or it serves one after another
    algorithm : str, optional
        'auto', or the name of a collective algorithm
    """

    def __init__(
        self,
        *,
        detail: Literal['coflow', 'steps'] = 'coflow',
        sharing: Literal['fair', 'fifo'] = 'fair',
        algorithm: str = 'auto',
    ) -> None: ...


class Optimizer(Stated):
    """What the optimizer keeps.

    Parameters
    ----------
    kind : str, optional
        a name for reports
    bytes_per_parameter : BytesPerParameter | Mapping[str, Any], optional
    temporary : float, optional
        bytes per parameter alive only during the optimizer step
    """

    def __init__(
        self,
        *,
        kind: str = 'adamw',
        bytes_per_parameter: BytesPerParameter | Mapping[str, Any] = ...,
        temporary: float = 0.0,
    ) -> None: ...


class Pipeline(Stated):
    """Stages of a pipeline, under any strategy: ``TSP(pp=...)``.

    Parameters
    ----------
    stages : int
        ranks of the pipeline
    schedule : str | Mapping[str, Any], optional
        a name, or {kind: name, options}
    chunks : int | None, optional
        stages on each rank
    layers : Literal['auto'] | Sequence[int], optional
        layers of every stage
    streams : Literal['rank', 'pair', 'direction'], optional
        which sends and receives follow each other
    overlap : bool, optional
        compute goes on while activations travel
    interleave : bool, optional
        a schedule's pairs of forward and backward are issued in turn
    """

    def __init__(
        self,
        *,
        stages: int,
        schedule: str | Mapping[str, Any] = '1f1b',
        chunks: int | None = None,
        layers: Literal['auto'] | Sequence[int] = 'auto',
        streams: Literal['rank', 'pair', 'direction'] = 'pair',
        overlap: bool = True,
        interleave: bool = True,
    ) -> None: ...


class Profile(Stated):
    """The constants that turn work into time: a shipped name or a file, with changes, or its keys.

    ``Timing(profile=...)`` or ``Device(profile=...)``.

    Parameters
    ----------
    file : str | PathLike[str], optional
        a file, or the name of a shipped one
    name : str, optional
    source : str | Mapping[str, str], optional
        Where the numbers come from: one text, or one text by key
    curves : Mapping[str, Sequence[Sequence[float]]], optional
        By work: ``matmul``, ``grouped``, ``attention``, ``attention_backward`` (sizes in flops),
        ``elementwise`` (in bytes). What is missing runs at its peak, but ``grouped`` as ``matmul``.
    launch : str | None, optional
        Added to every compute op; the device's own when not given.
    sustained : float, optional
        Fraction of the rate of kernels timed alone that products keep in long runs.
    interference : float, optional
        Fraction of its speed that compute keeps while a collective is active.
    error : float | None, optional
        Mean absolute relative error on runs that it was not fitted to; not given: unknown.
    protocols : Sequence[Mapping[str, Any]], optional
        How collectives travel inside a node: the fastest for the size; none: as the links state.
    collectives : Mapping[str, str], optional
        By kind, the algorithm that the library was seen to use; what is missing is chosen.
    attention : Mapping[str, float], optional
        By flash kernel (``flash-2``), its efficiency as a part of what table or curve say.
    tables : Mapping[str, Any] | None, optional
        Measured kernels, in place of the curves of the same work.
    fits : Mapping[str, Mapping[str, Any]], optional
        By curve or collective: how well the fit meets its figures.
    evidence : Sequence[Mapping[str, Any]], optional
        How far collective calls that it was not fitted to were off, by kind and span.
    steps : Sequence[Mapping[str, Any]], optional
        How far whole steps that it was not fitted to were off, by framework and span.
    """

    def __init__(
        self,
        file: str | PathLike[str] = ...,
        *,
        name: str = ...,
        source: str | Mapping[str, str] = '',
        curves: Mapping[str, Sequence[Sequence[float]]] = ...,
        launch: str | None = None,
        sustained: float = 1.0,
        interference: float = 1.0,
        error: float | None = None,
        protocols: Sequence[Mapping[str, Any]] = ...,
        collectives: Mapping[str, str] = ...,
        attention: Mapping[str, float] = ...,
        tables: Mapping[str, Any] | None = None,
        fits: Mapping[str, Mapping[str, Any]] = ...,
        evidence: Sequence[Mapping[str, Any]] = ...,
        steps: Sequence[Mapping[str, Any]] = ...,
    ) -> None: ...


class Reliability(Stated):
    """How often devices fail, and what the job does about it: ``Disturbances(reliability=...)``.

    Parameters
    ----------
    horizon : str
        how long the job runs
    restart : str
        from a failure until the job computes again
    checkpoint : Checkpoint | Mapping[str, Any]
        what a checkpoint costs, and how often it is
    mtbf : str | None, optional
        mean time between failures of one device (none: only 'failures')
    """

    def __init__(
        self,
        *,
        horizon: str,
        restart: str,
        checkpoint: Checkpoint | Mapping[str, Any],
        mtbf: str | None = None,
    ) -> None: ...


class Router(Stated):
    """How much each of a token's experts counts: ``Experts(router=...)``.

    Parameters
    ----------
    score : Literal['softmax', 'sigmoid'], optional
        shares of all experts, or each by itself
    normalise : bool, optional
        a token's weights are divided by their sum
    scale : float, optional
        and multiplied by this
    groups : int, optional
        groups of experts, of which a token goes to some
    top_groups : int, optional
        how many of the groups
    correction : bool, optional
        a number per expert, added to choose alone
    balance_loss : float, optional
        coefficient of a loss that evens out loads
    z_loss : float, optional
        coefficient of a loss of large products
    """

    def __init__(
        self,
        *,
        score: Literal['softmax', 'sigmoid'] = 'softmax',
        normalise: bool = True,
        scale: float = 1.0,
        groups: int = 1,
        top_groups: int = 1,
        correction: bool = False,
        balance_loss: float = 0.0,
        z_loss: float = 0.0,
    ) -> None: ...


class Routing(Stated):
    """How tokens spread over experts: ``Workload(routing=...)``.

    Parameters
    ----------
    kind : Literal['balanced', 'power_law', 'table'] | None, optional
        default: table where there is one, else balanced
    exponent : float, optional
        power_law: share of the i-th expert
    seed : int, optional
        power_law: which expert is the i-th, by layer
    table : Sequence[Sequence[int]], optional
        tokens of every expert, a row for every layer with experts, or one for all
    layers : Sequence[int] | None, optional
        of the table's rows, counted from 0 (default: those with experts)
    file : str | None, optional
        a CSV with layer, expert, tokens, or a JSON matrix: holds the table
    capacity : float | None, optional
        an expert takes so many times the mean, and drops the rest (default: all)
    """

    def __init__(
        self,
        *,
        kind: Literal['balanced', 'power_law', 'table'] | None = None,
        exponent: float = 1.0,
        seed: int = 0,
        table: Sequence[Sequence[int]] = ...,
        layers: Sequence[int] | None = None,
        file: str | None = None,
        capacity: float | None = None,
    ) -> None: ...


class SlowDevice(Stated):
    """A device that computes more slowly than it states: ``Disturbances(slow_devices=[...])``.

    Parameters
    ----------
    device : int
        its number: rank i runs on device i
    speed : float | None, optional
        fraction of its speed in all that it computes (0.8: 1.25 x the time)
    compute : float | None, optional
        fraction of its compute rates alone
    memory : float | None, optional
        fraction of its memory bandwidth alone
    """

    def __init__(
        self,
        *,
        device: int,
        speed: float | None = None,
        compute: float | None = None,
        memory: float | None = None,
    ) -> None: ...


class Spread(Stated):
    """Where experts lie, and what travels between them and the tokens: ``TSP(experts=...)``.

    Parameters
    ----------
    layout : Literal['tokens', 'ring', 'tensor'], optional
        what travels: tokens, or experts' weights; tensor: experts are cut
    over : Sequence[str] | None, optional
        axes that experts are spread over, innermost first
    degree : int | None, optional
        ranks that hold all experts together
    cut : Sequence[str], optional
        layout: tokens: axes that every expert is cut over, besides
    shards : Literal['experts', 'columns'], optional
        layout: ring: whole experts travel, or columns of all
    once : Literal['rank', 'node'] | None, optional
        layout: tokens: a token goes once to a rank, or to a node and on in it
    pieces : int, optional
        layout: tokens: rows of some experts travel while others' multiply
    slots : int, optional
        layout: ring: places for travelling weights
    overlap : Literal['two_batches', 'forward_backward'] | None, optional
        passes of two micro-batches are issued in turn: what one says is hidden
    """

    def __init__(
        self,
        *,
        layout: Literal['tokens', 'ring', 'tensor'] = 'tokens',
        over: Sequence[str] | None = None,
        degree: int | None = None,
        cut: Sequence[str] = ...,
        shards: Literal['experts', 'columns'] = 'experts',
        once: Literal['rank', 'node'] | None = None,
        pieces: int = 1,
        slots: int = 2,
        overlap: Literal['two_batches', 'forward_backward'] | None = None,
    ) -> None: ...


class Strategy(Stated):
    """The strategy of a kind, such as one of another package; `others` are its own options.

    Parameters
    ----------
    kind : str
    dp : int, optional
        replicas of the model (data parallelism)
    zero : int, optional
        what replicas share: 1: optimizer states, 2: gradients too, 3: weights too
    shard : Blocks | Mapping[str, Any] | None, optional
        share in blocks of neighbouring replicas only: {degree: 8}
    reshard : bool | int | None, optional
        zero: 3: let weights go behind forward; a number: to so many neighbours
    reduce : Literal['fp32', 'bf16'] | None, optional
        zero: 2 and 3: type in which gradients travel; null: their own
    sync : Literal['every', 'last'] | None, optional
        zero: 2 and 3: micro-batches behind which gradients are reduced
    offload : Literal['optimizer'] | None, optional
        optimizer: states in the host's memory, and the step made there
    bucket : str, optional
        Bytes of gradients in a message between replicas; ``0 B``: a message per buffer. With
        ``zero: 2`` of weights: gradients travel layer by layer, and with ``zero: 3`` both do.
    overlap_gradients : bool | None, optional
        reduce gradients during backward; null: with zero: 0
    overlap_weights : bool, optional
        zero: 1 and 2: gather updated weights during the next forward
    pp : Pipeline | Mapping[str, Any] | None, optional
        stages of a pipeline: {stages: 4, ...}
    experts : Spread | Mapping[str, Any] | None, optional
        of a mixture of experts: where they lie, and what travels
    placement : Sequence[str] | None, optional
        all axes, innermost (neighbouring devices) first
    """

    def __init__(
        self,
        *,
        kind: str,
        dp: int = 1,
        zero: int = 0,
        shard: Blocks | Mapping[str, Any] | None = None,
        reshard: bool | int | None = None,
        reduce: Literal['fp32', 'bf16'] | None = None,
        sync: Literal['every', 'last'] | None = None,
        offload: Literal['optimizer'] | None = None,
        bucket: str = '25 MiB',
        overlap_gradients: bool | None = None,
        overlap_weights: bool = False,
        pp: Pipeline | Mapping[str, Any] | None = None,
        experts: Spread | Mapping[str, Any] | None = None,
        placement: Sequence[str] | None = None,
        **others: Any,
    ) -> None: ...


class Timing(Stated):
    """The constants that turn work into time; not given: the device's own.

    Parameters
    ----------
    profile : str | Profile | Mapping[str, Any] | None, optional
        name, file or keys of a profile (default: the device's own)
    """

    def __init__(
        self,
        *,
        profile: str | Profile | Mapping[str, Any] | None = None,
    ) -> None: ...


class Topology(Stated):
    """The hardware: a shipped name or a file, with changes, or a kind and its keys.

    ``Topology("h100-node", ranks=4)`` has four of its devices.

    Parameters
    ----------
    file : str | PathLike[str], optional
        a file, or the name of a shipped one
    kind : Literal['custom', 'full', 'line', 'mesh', 'nodes', 'ring', 'switch', 'torus'], optional
        Name of the generator.
    devices : Sequence[str | Device | Mapping[str, Any]], optional
        One entry per rank.
    links : Sequence[Link | Mapping[str, Any]], optional
        At most one per pair of vertices and direction.
    source : str | Mapping[str, str], optional
        Where the numbers come from: one text, or one text by key
    name : str | None, optional
        For reports; the kind and the number of devices when not given.
    device : str | Device | Mapping[str, Any] | None, optional
        What every rank runs on; only a node inside a larger topology may go without.
    link : Link | Mapping[str, Any], optional
        Per direction.
    ranks : int, optional
    shape : Sequence[int], optional
    node : Topology | Mapping[str, Any], optional
        One of them: another topology, or ``file:``. Its device holds where none is stated here.
    nodes : int, optional
        How many.
    nic : Link | Mapping[str, Any], optional
        Bandwidth per direction, and latency from device to device through one switch.
    nics : int | None, optional
        Per node; one per device when not given. It divides the devices, which share them by turns.
    fabric : Literal['rails', 'rail_optimised', 'fat_tree', 'dragonfly'], optional
        ``rails``: NIC k of every node is on rail switch k, and rails are not joined, so traffic
        between different positions crosses the sender's node. ``rail_optimised``: a spine joins the
        rails. ``fat_tree``: nodes share leaf switches, and one uplink per leaf leads to a spine.
        ``dragonfly``: a router per node, in groups; see `tspsim.topology.networks`.
    hop : str, optional
        Latency of a link between two switches.
    oversubscription : float, optional
        What the switches below could send up, over what the links upwards carry: uplinks of rails
        and leaves, global links of groups.
    nodes_per_leaf : int, optional
        Nodes that share a leaf switch of a fat tree.
    groups : int | None, optional
        Groups of a dragonfly.
    reducing : bool, optional
    """

    def __init__(
        self,
        file: str | PathLike[str] = ...,
        *,
        kind: Literal['custom', 'full', 'line', 'mesh', 'nodes', 'ring', 'switch', 'torus'] = ...,
        devices: Sequence[str | Device | Mapping[str, Any]] = ...,
        links: Sequence[Link | Mapping[str, Any]] = ...,
        source: str | Mapping[str, str] = '',
        name: str | None = None,
        device: str | Device | Mapping[str, Any] | None = None,
        link: Link | Mapping[str, Any] = ...,
        ranks: int = ...,
        shape: Sequence[int] = ...,
        node: Topology | Mapping[str, Any] = ...,
        nodes: int = ...,
        nic: Link | Mapping[str, Any] = ...,
        nics: int | None = None,
        fabric: Literal['rails', 'rail_optimised', 'fat_tree', 'dragonfly'] = 'rails',
        hop: str = ...,
        oversubscription: float = 1.0,
        nodes_per_leaf: int = 1,
        groups: int | None = None,
        reducing: bool = False,
    ) -> None: ...


class Weights(Stated):
    """What a layer's matrices are kept in, and multiply: ``Workload(weights=...)``.

    Parameters
    ----------
    attention : Literal['', 'fp8'], optional
        those of attention's projections (default: dtype)
    mlp : Literal['', 'fp8'], optional
        those of the MLP, or of experts (default: dtype)
    """

    def __init__(
        self,
        *,
        attention: Literal['', 'fp8'] = '',
        mlp: Literal['', 'fp8'] = '',
    ) -> None: ...


class Workload(Stated):
    """What one step processes.

    Parameters
    ----------
    sequence : int | None, optional
        tokens of one sequence
    batch : int, optional
        sequences per micro-batch and replica
    micro_batches : int, optional
        micro-batches per step
    phase : Literal['forward', 'train', 'prefill', 'decode', 'generate'], optional
    dtype : Literal['bf16', 'fp16', 'fp32', 'fp64'], optional
    linears : Literal['', 'fp8'], optional
        what the matrix products of the layers multiply (default: dtype)
    recompute : Literal['none', 'selective', 'full'], optional
        what backward computes again
    causal : Literal['zigzag', 'contiguous', 'off'], optional
        causal mask and the order of tokens over ranks
    logits_chunks : int, optional
        pieces in which head and loss run
    routing : str | Routing | Mapping[str, Any] | None, optional
        how tokens spread over experts (default: balanced)
    prompt : int | None, optional
        prefill, generate: tokens of a prompt (or sequence)
    requests : Sequence[int] | None, optional
        prefill, generate: prompts of other lengths, in place of prompt and batch
    cached : int | Sequence[int] | None, optional
        tokens in the cache, of every sequence or a list: in decode all of its own, else the
        beginning of a prompt
    new_tokens : int | None, optional
        generate: tokens that every sequence gets
    chunk : int | None, optional
        prefill, generate: tokens of a prompt in one step at most (default: all)
    cache : Cache | Mapping[str, Any] | None, optional
        how keys and values are kept
    weights : Weights | Mapping[str, Any] | None, optional
        what a layer's matrices are kept in, and multiply
    overhead : str | None, optional
        time beside every step: sampling, scheduling, what the host does
    """

    def __init__(
        self,
        *,
        sequence: int | None = None,
        batch: int = 1,
        micro_batches: int = 1,
        phase: Literal['forward', 'train', 'prefill', 'decode', 'generate'] = 'train',
        dtype: Literal['bf16', 'fp16', 'fp32', 'fp64'] = 'bf16',
        linears: Literal['', 'fp8'] = '',
        recompute: Literal['none', 'selective', 'full'] = 'none',
        causal: Literal['zigzag', 'contiguous', 'off'] = 'zigzag',
        logits_chunks: int = 1,
        routing: str | Routing | Mapping[str, Any] | None = None,
        prompt: int | None = None,
        requests: Sequence[int] | None = None,
        cached: int | Sequence[int] | None = None,
        new_tokens: int | None = None,
        chunk: int | None = None,
        cache: Cache | Mapping[str, Any] | None = None,
        weights: Weights | Mapping[str, Any] | None = None,
        overhead: str | None = None,
    ) -> None: ...


class FSDP(Strategy):
    """Fully sharded data parallelism: ``dp`` replicas that share all weights.

    Parameters
    ----------
    dp : int, optional
        replicas of the model (data parallelism)
    zero : int, optional
        what replicas share: weights too
    shard : Blocks | Mapping[str, Any] | None, optional
        share in blocks of neighbouring replicas only: {degree: 8}
    reshard : bool | int | None, optional
        zero: 3: let weights go behind forward; a number: to so many neighbours
    reduce : Literal['fp32', 'bf16'] | None, optional
        zero: 2 and 3: type in which gradients travel; null: their own
    sync : Literal['every', 'last'] | None, optional
        zero: 2 and 3: micro-batches behind which gradients are reduced
    offload : Literal['optimizer'] | None, optional
        optimizer: states in the host's memory, and the step made there
    bucket : str, optional
        Bytes of gradients in a message between replicas; ``0 B``: a message per buffer. With
        ``zero: 2`` of weights: gradients travel layer by layer, and with ``zero: 3`` both do.
    overlap_gradients : bool | None, optional
        reduce gradients during backward; null: with zero: 0
    overlap_weights : bool, optional
        zero: 1 and 2: gather updated weights during the next forward
    pp : Pipeline | Mapping[str, Any] | None, optional
        stages of a pipeline: {stages: 4, ...}
    experts : Spread | Mapping[str, Any] | None, optional
        of a mixture of experts: where they lie, and what travels
    placement : Sequence[str] | None, optional
        all axes, innermost (neighbouring devices) first
    """

    def __init__(
        self,
        *,
        dp: int = 1,
        zero: int = 3,
        shard: Blocks | Mapping[str, Any] | None = None,
        reshard: bool | int | None = None,
        reduce: Literal['fp32', 'bf16'] | None = None,
        sync: Literal['every', 'last'] | None = None,
        offload: Literal['optimizer'] | None = None,
        bucket: str = '25 MiB',
        overlap_gradients: bool | None = None,
        overlap_weights: bool = False,
        pp: Pipeline | Mapping[str, Any] | None = None,
        experts: Spread | Mapping[str, Any] | None = None,
        placement: Sequence[str] | None = None,
    ) -> None: ...


class SP(Strategy):
    """Sequence parallelism: every rank has all weights, and a part of the tokens.

    Parameters
    ----------
    degree : int
        Ranks.
    dp : int, optional
        replicas of the model (data parallelism)
    zero : int, optional
        what replicas share: 1: optimizer states, 2: gradients too, 3: weights too
    shard : Blocks | Mapping[str, Any] | None, optional
        share in blocks of neighbouring replicas only: {degree: 8}
    reshard : bool | int | None, optional
        zero: 3: let weights go behind forward; a number: to so many neighbours
    reduce : Literal['fp32', 'bf16'] | None, optional
        zero: 2 and 3: type in which gradients travel; null: their own
    sync : Literal['every', 'last'] | None, optional
        zero: 2 and 3: micro-batches behind which gradients are reduced
    offload : Literal['optimizer'] | None, optional
        optimizer: states in the host's memory, and the step made there
    bucket : str, optional
        Bytes of gradients in a message between replicas; ``0 B``: a message per buffer. With
        ``zero: 2`` of weights: gradients travel layer by layer, and with ``zero: 3`` both do.
    overlap_gradients : bool | None, optional
        reduce gradients during backward; null: with zero: 0
    overlap_weights : bool, optional
        zero: 1 and 2: gather updated weights during the next forward
    pp : Pipeline | Mapping[str, Any] | None, optional
        stages of a pipeline: {stages: 4, ...}
    experts : Spread | Mapping[str, Any] | None, optional
        of a mixture of experts: where they lie, and what travels
    placement : Sequence[str] | None, optional
        all axes, innermost (neighbouring devices) first
    kv : Literal['all_gather', 'ring', 'ulysses', 'usp'], optional
        How queries meet the keys and values of other ranks.
    ulysses_degree : int | None, optional
        kv: usp: neighbours that exchange heads
    keep_gathered_kv : bool, optional
        With all_gather: keep K and V of the whole sequence for backward.
    gather_latent : bool, optional
        With all_gather, of latent attention: as in `tsp`.
    passes : Literal['kv', 'queries'] | None, optional
        inference: what travels; null: queries in decode, else kv
    """

    def __init__(
        self,
        *,
        degree: int,
        dp: int = 1,
        zero: int = 0,
        shard: Blocks | Mapping[str, Any] | None = None,
        reshard: bool | int | None = None,
        reduce: Literal['fp32', 'bf16'] | None = None,
        sync: Literal['every', 'last'] | None = None,
        offload: Literal['optimizer'] | None = None,
        bucket: str = '25 MiB',
        overlap_gradients: bool | None = None,
        overlap_weights: bool = False,
        pp: Pipeline | Mapping[str, Any] | None = None,
        experts: Spread | Mapping[str, Any] | None = None,
        placement: Sequence[str] | None = None,
        kv: Literal['all_gather', 'ring', 'ulysses', 'usp'] = 'all_gather',
        ulysses_degree: int | None = None,
        keep_gathered_kv: bool = False,
        gather_latent: bool = False,
        passes: Literal['kv', 'queries'] | None = None,
    ) -> None: ...


class TP(Strategy):
    """Tensor parallelism, as of Megatron-LM.

    Parameters
    ----------
    degree : int
        Ranks.
    dp : int, optional
        replicas of the model (data parallelism)
    zero : int, optional
        what replicas share: 1: optimizer states, 2: gradients too, 3: weights too
    shard : Blocks | Mapping[str, Any] | None, optional
        share in blocks of neighbouring replicas only: {degree: 8}
    reshard : bool | int | None, optional
        zero: 3: let weights go behind forward; a number: to so many neighbours
    reduce : Literal['fp32', 'bf16'] | None, optional
        zero: 2 and 3: type in which gradients travel; null: their own
    sync : Literal['every', 'last'] | None, optional
        zero: 2 and 3: micro-batches behind which gradients are reduced
    offload : Literal['optimizer'] | None, optional
        optimizer: states in the host's memory, and the step made there
    bucket : str, optional
        Bytes of gradients in a message between replicas; ``0 B``: a message per buffer. With
        ``zero: 2`` of weights: gradients travel layer by layer, and with ``zero: 3`` both do.
    overlap_gradients : bool | None, optional
        reduce gradients during backward; null: with zero: 0
    overlap_weights : bool, optional
        zero: 1 and 2: gather updated weights during the next forward
    pp : Pipeline | Mapping[str, Any] | None, optional
        stages of a pipeline: {stages: 4, ...}
    experts : Spread | Mapping[str, Any] | None, optional
        of a mixture of experts: where they lie, and what travels
    placement : Sequence[str] | None, optional
        all axes, innermost (neighbouring devices) first
    sequence_parallel : bool, optional
        Cut norms and residuals over tokens (arXiv 2205.05198): all_gather and reduce_scatter
        replace every all_reduce.
    keep_gathered_kv : bool, optional
        Under ``recompute: full``, keep K and V of the local heads for backward.
    replicate_kv_heads : bool, optional
        Allow more ranks than key/value heads: neighbours hold the same one.
    """

    def __init__(
        self,
        *,
        degree: int,
        dp: int = 1,
        zero: int = 0,
        shard: Blocks | Mapping[str, Any] | None = None,
        reshard: bool | int | None = None,
        reduce: Literal['fp32', 'bf16'] | None = None,
        sync: Literal['every', 'last'] | None = None,
        offload: Literal['optimizer'] | None = None,
        bucket: str = '25 MiB',
        overlap_gradients: bool | None = None,
        overlap_weights: bool = False,
        pp: Pipeline | Mapping[str, Any] | None = None,
        experts: Spread | Mapping[str, Any] | None = None,
        placement: Sequence[str] | None = None,
        sequence_parallel: bool = False,
        keep_gathered_kv: bool = False,
        replicate_kv_heads: bool = False,
    ) -> None: ...


class TPSP(Strategy):
    """Tensor and sequence parallelism on two axes.

    Parameters
    ----------
    tp : int
        Degrees of the two axes; tp varies fastest over ranks.
    sp : int
        Degrees of the two axes; tp varies fastest over ranks.
    dp : int, optional
        replicas of the model (data parallelism)
    zero : int, optional
        what replicas share: 1: optimizer states, 2: gradients too, 3: weights too
    shard : Blocks | Mapping[str, Any] | None, optional
        share in blocks of neighbouring replicas only: {degree: 8}
    reshard : bool | int | None, optional
        zero: 3: let weights go behind forward; a number: to so many neighbours
    reduce : Literal['fp32', 'bf16'] | None, optional
        zero: 2 and 3: type in which gradients travel; null: their own
    sync : Literal['every', 'last'] | None, optional
        zero: 2 and 3: micro-batches behind which gradients are reduced
    offload : Literal['optimizer'] | None, optional
        optimizer: states in the host's memory, and the step made there
    bucket : str, optional
        Bytes of gradients in a message between replicas; ``0 B``: a message per buffer. With
        ``zero: 2`` of weights: gradients travel layer by layer, and with ``zero: 3`` both do.
    overlap_gradients : bool | None, optional
        reduce gradients during backward; null: with zero: 0
    overlap_weights : bool, optional
        zero: 1 and 2: gather updated weights during the next forward
    pp : Pipeline | Mapping[str, Any] | None, optional
        stages of a pipeline: {stages: 4, ...}
    experts : Spread | Mapping[str, Any] | None, optional
        of a mixture of experts: where they lie, and what travels
    placement : Sequence[str] | None, optional
        all axes, innermost (neighbouring devices) first
    sequence_parallel : bool, optional
        As in `tp`.
    kv : Literal['all_gather', 'ring', 'ulysses', 'usp'], optional
        As in `sp`.
    ulysses_degree : int | None, optional
        kv: usp: neighbours that exchange heads
    keep_gathered_kv : bool, optional
        As in `tp`.
    gather_latent : bool, optional
        With all_gather, of latent attention: as in `tsp`.
    passes : Literal['kv', 'queries'] | None, optional
        inference: what travels; null: queries in decode, else kv
    replicate_kv_heads : bool, optional
        As in `tp`.
    """

    def __init__(
        self,
        *,
        tp: int,
        sp: int,
        dp: int = 1,
        zero: int = 0,
        shard: Blocks | Mapping[str, Any] | None = None,
        reshard: bool | int | None = None,
        reduce: Literal['fp32', 'bf16'] | None = None,
        sync: Literal['every', 'last'] | None = None,
        offload: Literal['optimizer'] | None = None,
        bucket: str = '25 MiB',
        overlap_gradients: bool | None = None,
        overlap_weights: bool = False,
        pp: Pipeline | Mapping[str, Any] | None = None,
        experts: Spread | Mapping[str, Any] | None = None,
        placement: Sequence[str] | None = None,
        sequence_parallel: bool = False,
        kv: Literal['all_gather', 'ring', 'ulysses', 'usp'] = 'all_gather',
        ulysses_degree: int | None = None,
        keep_gathered_kv: bool = False,
        gather_latent: bool = False,
        passes: Literal['kv', 'queries'] | None = None,
        replicate_kv_heads: bool = False,
    ) -> None: ...


class TSP(Strategy):
    """Tensor and sequence parallelism on the same ranks.

    Parameters
    ----------
    degree : int
        Ranks.
    dp : int, optional
        replicas of the model (data parallelism)
    zero : int, optional
        what replicas share: 1: optimizer states, 2: gradients too, 3: weights too
    shard : Blocks | Mapping[str, Any] | None, optional
        share in blocks of neighbouring replicas only: {degree: 8}
    reshard : bool | int | None, optional
        zero: 3: let weights go behind forward; a number: to so many neighbours
    reduce : Literal['fp32', 'bf16'] | None, optional
        zero: 2 and 3: type in which gradients travel; null: their own
    sync : Literal['every', 'last'] | None, optional
        zero: 2 and 3: micro-batches behind which gradients are reduced
    offload : Literal['optimizer'] | None, optional
        optimizer: states in the host's memory, and the step made there
    bucket : str, optional
        Bytes of gradients in a message between replicas; ``0 B``: a message per buffer. With
        ``zero: 2`` of weights: gradients travel layer by layer, and with ``zero: 3`` both do.
    overlap_gradients : bool | None, optional
        reduce gradients during backward; null: with zero: 0
    overlap_weights : bool, optional
        zero: 1 and 2: gather updated weights during the next forward
    pp : Pipeline | Mapping[str, Any] | None, optional
        stages of a pipeline: {stages: 4, ...}
    experts : Spread | Mapping[str, Any] | None, optional
        of a mixture of experts: where they lie, and what travels
    placement : Sequence[str] | None, optional
        all axes, innermost (neighbouring devices) first
    slots : int, optional
        Places for travelling weights, one in use and the others prefetched: the depth of the
        prefetch. Two is double buffering.
    head_buckets : int, optional
        A shard's heads are attended to in this many groups: less memory for gathered K and V, more
        all_gathers.
    lookahead : int, optional
        How many turns of the attention loop ahead K and V are projected and gathered while
        attention runs; 0: strictly one turn after another, each gather exposed. Every turn ahead
        keeps one more weight shard (backward: two), beside `slots`, and one more gathered K/V.
    share_recompute : bool, optional
        Under ``recompute: full``, recompute inside backward's own loops: one weight broadcast
        serves both, and the stream between attention and MLP is kept as well; of blocks with a norm
        behind them, their outputs too.
    keep_gathered_kv : bool, optional
        Keep gathered K and V for backward instead of gathering them again.
    gather_latent : bool, optional
        Of latent attention: gather the latents of all tokens once, and expand them on every rank,
        instead of gathering keys and values.
    replicate_kv_heads : bool, optional
        Allow more ranks than key/value heads: neighbours hold the same one.
    passes : Literal['kv', 'queries'] | None, optional
        inference: what travels; null: queries in decode, else kv
    weights : Literal['travel', 'stay'] | None, optional
        inference: null: weights stay where they are in decode, else travel
    """

    def __init__(
        self,
        *,
        degree: int,
        dp: int = 1,
        zero: int = 0,
        shard: Blocks | Mapping[str, Any] | None = None,
        reshard: bool | int | None = None,
        reduce: Literal['fp32', 'bf16'] | None = None,
        sync: Literal['every', 'last'] | None = None,
        offload: Literal['optimizer'] | None = None,
        bucket: str = '25 MiB',
        overlap_gradients: bool | None = None,
        overlap_weights: bool = False,
        pp: Pipeline | Mapping[str, Any] | None = None,
        experts: Spread | Mapping[str, Any] | None = None,
        placement: Sequence[str] | None = None,
        slots: int = 2,
        head_buckets: int = 1,
        lookahead: int = 1,
        share_recompute: bool = True,
        keep_gathered_kv: bool = False,
        gather_latent: bool = False,
        replicate_kv_heads: bool = False,
        passes: Literal['kv', 'queries'] | None = None,
        weights: Literal['travel', 'stay'] | None = None,
    ) -> None: ...
