"""An explanation as one JSON-able mapping, in SI units: what ``tspsim explain --json`` prints."""

from __future__ import annotations

from typing import Any

from tspsim.explain.explanation import Explanation, WhatIf
from tspsim.explain.fill import layer_name
from tspsim.explain.pieces import Piece
from tspsim.explain.remedies import Remedy
from tspsim.explain.replay import Replayed
from tspsim.explain.whatif import Sensitivity
from tspsim.explain.why import Why


def to_dict(explanation: Explanation) -> dict[str, Any]:
    """Return everything that an explanation says; the pieces of the path only as sums."""
    figures = explanation.result.summary.to_dict()
    return {
        "scenario": figures["scenario"],
        "step_time": figures["step_time"],
        "interval": figures["interval"],
        "why": _why(explanation.why),
        "critical_path": _path(explanation),
        **_reading(explanation),
        "bottleneck": explanation.bottlenecks[0]._asdict() if explanation.bottlenecks else None,
        "exposed_communication": {
            "rank": explanation.result.timeline.slowest_rank,
            "total": figures["time"]["exposed_communication"],
            "causes": [cause._asdict() for cause in explanation.causes],
            "as_stated": figures["communication"]["as_stated"],
        },
        **_bubble(explanation),
        **_experts(explanation),
        "memory": _memory(explanation),
        "what_if": _what_if(explanation.what_if) if explanation.what_if else None,
    }


def _why(found: Why) -> dict[str, Any]:
    """Return the waterfall: its parts in order, which add up to the step time."""
    parts = [part._asdict() for part in found.parts]
    return {"ideal": found.ideal, "ranks": found.ranks, "total": found.total, "parts": parts}


def _bubble(explanation: Explanation) -> dict[str, Any]:
    """Return the causes of the bubble, where there is a pipeline."""
    found = explanation.bubble
    if found is None:
        return {}
    total, behind = {"total": found.bubble.seconds}, {"head_of_line": found.head_of_line}
    bubble = {"rank": found.rank, **total, **found.bubble._asdict(), **behind}
    return {"bubble": bubble | {"blocked_rank": found.blocked}}


def _reading(explanation: Explanation) -> dict[str, Any]:
    """Return what memory bandwidth reads on the path, in inference."""
    found = explanation.reading
    return {} if found is None else {"reading": found._asdict()}


def _experts(explanation: Explanation) -> dict[str, Any]:
    """Return what of the critical path is due to experts, where there are any."""
    found = explanation.experts
    if found is None:
        return {}
    excess = found.imbalance
    told = excess._asdict() | {"seconds": excess.seconds} if excess else None
    imbalance = {"imbalance": told}
    return {"experts": {"total": found.total, **found._asdict(), **imbalance}}


def link_of(explanation: Explanation, piece: Piece) -> str:
    """Return the name of the link that a piece fills, or ``"none"``."""
    links = explanation.result.scenario.topology.links
    return "none" if piece.link is None else links[piece.link].name


def _path(explanation: Explanation) -> dict[str, Any]:
    path = explanation.path
    return {
        "total": path.total,
        "pieces": len(path.pieces),
        "edges": path.edges(),
        "by_resource": {b.resource: b.seconds for b in explanation.bottlenecks},
        "by_limit": path.by(lambda piece: piece.limit),
        "by_kind": path.by(lambda piece: piece.op.kind.name),
        "by_phase": path.by(lambda piece: piece.op.phase),
        "by_layer": path.by(lambda piece: layer_name(piece.op.layer)),
        "by_link": path.by(lambda piece: link_of(explanation, piece)),
        "by_rank": path.by(lambda piece: str(piece.rank)),
    }


def _memory(explanation: Explanation) -> dict[str, Any]:
    found, figures = explanation.memory, explanation.memory.figures
    return {
        **{key: getattr(figures, key) for key in ("peak", "capacity", "peak_rank", "peak_time")},
        "by_kind": dict(figures.at_peak),
        "by_layer": found.by_layer,
        "buffers": [held._asdict() for held in found.buffers],
    }


def _what_if(found: WhatIf) -> dict[str, Any]:
    knee = found.knee
    return {
        "base": found.base._asdict(),
        "link_classes_left_out": found.left_out,
        "constants": [_sensitivity(found, s) for s in found.sensitivities],
        "knee": knee
        and {
            "constant": knee.constant.key,
            "on": knee.constant.on,
            "bandwidth": knee.bandwidth,
            "endless_links_step_time": knee.limit,
            "endless_links_speedup": knee.gain,
            **_difference(found, knee.limit),
        },
        "memory_changes": [_remedy(found, remedy) for remedy in found.remedies],
        "expert_changes": [_remedy(found, remedy) for remedy in found.experts],
        **_inference(found),
    }


def _inference(found: WhatIf) -> dict[str, Any]:
    """Return what other settings give all steps of inference, and what these take as they are."""
    changes = [_remedy(found, remedy) for remedy in found.inference]
    return {"all_steps": found.whole._asdict(), "inference_changes": changes} if changes else {}


def _sensitivity(found: WhatIf, sensitivity: Sensitivity) -> dict[str, Any]:
    constant = sensitivity.constant
    return {
        "constant": constant.key,
        "value": constant.value,
        "unit": constant.unit,
        "on": constant.on,
        "elasticity": sensitivity.elasticity,
        "times": {f"{factor:g}": _replayed(found, each) for factor, each in sensitivity.replays},
    }


def _remedy(found: WhatIf, remedy: Remedy) -> dict[str, Any]:
    return {"overrides": list(remedy.overrides), **_replayed(found, remedy.replayed)}


def _replayed(found: WhatIf, replayed: Replayed) -> dict[str, Any]:
    return replayed._asdict() | _difference(found, replayed.step_time)


def _difference(found: WhatIf, step_time: float) -> dict[str, Any]:
    """Return how far a changed step is told apart, under the names that a comparison has."""
    known = found.apart(step_time)
    return {
        "draw": known.draw if known else None,
        "difference_interval": known.to_dict() if known else None,
    }
