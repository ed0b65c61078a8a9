"""Configurations of Hugging Face models with keys missing and values of other types."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from tests.fuzzing import texts, values
from tests.fuzzing.case import SCENARIO, Case
from tspsim.files.shipped import shipped

_SCENARIO = """\
model: {{hf: config.json{more}}}
workload: {{sequence: 4096}}
topology: {{kind: full, ranks: 2, link: {{bandwidth: 64 GB/s, latency: 1 us}}, device: h100-sxm}}
strategy: {{kind: tp, degree: 2}}
"""


def case(rng: Random, folder: Path, _bases: Path) -> Case:
    """Return a command for a scenario whose model is a changed ``config.json``."""
    path = rng.choice(sorted(shipped("models").glob("*/config.json")))
    tree = json.loads(path.read_text(encoding="utf-8"))
    tree |= {key: 2 for key in ("num_hidden_layers", "n_layer") if key in tree}
    if rng.random() < 0.25:
        content = texts.mutated(rng, json.dumps(tree, indent=2))
    else:
        for _ in range(rng.choice((1, 1, 2))):
            tree = values.mutated(rng, tree)
        content = json.dumps(tree).encode()
    (folder / "config.json").write_bytes(content)
    more = rng.choice(("", "", ", layers: 1", ", vocab: 0", ", kv_heads: 2", ", hidden: null"))
    (folder / SCENARIO).write_text(_SCENARIO.format(more=more), encoding="utf-8")
    return Case((rng.choice(("show", "run")), SCENARIO))
