"""The question that a report answers, and the answer in a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from tspsim.explain.explanation import Explanation
from tspsim.files.between import a_draw
from tspsim.output.units import size
from tspsim.reports import explanation
from tspsim.reports.comparison import leads, why
from tspsim.reports.html.settings import Setting, number, rate, short, shown, step_time
from tspsim.reports.html.sources import Subject, Swept
from tspsim.sweeps.candidates import strategy_name
from tspsim.sweeps.store import AxisInfo

#: Candidates that are named in a question.
NAMED = 5


def title(subject: Subject) -> str:
    """Return what the page is called."""
    if subject.swept:
        return f"{subject.swept.store.name}: a sweep"
    if subject.compared:
        return f"{len(subject.compared)} runs compared"
    return subject.drawn[0].name


def question(subject: Subject) -> str:
    """Return the question, made of what varies."""
    if subject.swept:
        return _question_of_sweep(subject.swept)
    if subject.compared:
        names = _listed([candidate.name for candidate in subject.compared])
        return f"Which is the fastest that fits: {names}?"
    scenario = subject.drawn[0].result.scenario
    work = scenario.workload
    device = scenario.topology.devices[0].name
    model = f" through {scenario.model_name}" if scenario.model_name else ""
    if work.requests is not None:
        what = f"{work.requests.text}{model} take with {strategy_name(scenario)}"
        where = f"on {len(scenario.topology.devices)} x {device}"
        return f"How long does a {what} {where}, where does the time go, and does it fit?"
    tokens = scenario.strategy.mesh().replicas * work.tokens
    cut = "" if tokens == work.sequence else f" in sequences of {work.sequence:,}"
    return (
        f"How long does a step of {tokens:,} tokens{cut}{model} take with "
        f"{strategy_name(scenario)} on {len(scenario.topology.devices)} x {device}, where does the "
        "time go, and does it fit?"
    )


def answer(subject: Subject, explained: Sequence[Explanation] = ()) -> str:
    """Return the answer in a sentence or two, made from the numbers.

    Parameters
    ----------
    subject : Subject
    explained : sequence of Explanation
        Of what is drawn.
    """
    if subject.swept:
        return _answer_of_sweep(subject.swept)
    if subject.compared:
        return why(subject.compared)
    return answer_of_run(explained[0])


def answer_of_run(found: Explanation) -> str:
    """Return how long a step takes, what limits it, and whether it fits."""
    said = explanation.sentence(found)
    memory = found.result.summary.memory
    if not memory.fits:  # the sentence has said so
        return said
    left = memory.capacity - memory.peak
    return f"{said} It fits: {size(memory.peak)} of {size(memory.capacity)}, {size(left)} to spare."


def _listed(names: Sequence[str]) -> str:
    """Return names as in a sentence, the first few of many."""
    if len(names) > NAMED:
        return f"{', '.join(names[:NAMED])} or {len(names) - NAMED} others"
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


# ---- sweeps --------------------------------------------------------------------------------------


def _question_of_sweep(swept: Swept) -> str:
    names = list(dict.fromkeys(swept.names.name(row) for row in swept.rows))
    axes = [axis for axis in swept.store.axes if axis.key in swept.settings[0].axes]
    ranges = " and ".join(map(_range, axes))
    if len(names) == 1 or not swept.contested:
        return f"How fast is it, and does it fit, over {ranges}?"
    where = f" over {ranges}" if ranges else ""
    return f"Which is the fastest that fits{where}: {_listed(names)}?"


def _range(axis: AxisInfo) -> str:
    values = [shown(value) for value in axis.values]
    told = ", ".join(values) if len(values) <= 4 else f"{values[0]} to {values[-1]}"
    if axis.numeric and len(values) > 4:
        ordered = sorted(axis.values, key=lambda value: number(axis.key, value))
        told = f"{shown(ordered[0])} to {shown(ordered[-1])}"
    return f"{short(axis.key)} {told}"


def _answer_of_sweep(swept: Swept) -> str:
    able = [setting for setting in swept.settings if setting.ranked]
    if not able:
        return _nothing(swept)
    if not swept.contested:
        return _best_points(swept, able)
    if len(swept.settings) == 1:
        return _one(swept, able[0])
    return " ".join(filter(None, (_wins(swept, able), _widest(swept, able), _none(swept))))


def _nothing(swept: Swept) -> str:
    """Return what comes nearest to fitting."""
    ran = [row for row in swept.rows if row.figures]
    if not ran:
        return f"Nothing can run: none of {len(swept.rows)} points."
    near = min(ran, key=lambda row: row.figures["memory.peak"] - row.figures["memory.capacity"])
    return f"Nothing fits: {swept.names.full(near)} comes nearest and {near.reason}."


def _one(swept: Swept, setting: Setting) -> str:
    first = setting.ranked[0]
    verb = leads(setting.margin is None or setting.lead is not None)
    text = f"{swept.names.name(first)} {verb}: {step_time(first)} a step"
    if setting.margin is None:
        return f"{text}; nothing else fits."
    second = swept.names.name(setting.ranked[1])
    lead = setting.lead
    if lead is not None and lead.draw:
        names = [swept.names.name(first), second]
        return f"{a_draw(names, lead.differ, lead.least)}."
    return f"{text}, {100 * setting.margin:.1f} % more tokens per second than {second}."


def _best_points(swept: Swept, able: Sequence[Setting]) -> str:
    rows = [row for setting in able for row in setting.ranked]
    best = max(rows, key=rate)
    told = ", ".join(f"{short(key)} {shown(value)}" for key, value in best.axes.items())
    return (
        f"Most tokens per second at {told}: {rate(best):,.0f}, {step_time(best)} "
        f"a step. {len(rows)} of {len(swept.rows)} points fit."
    )


def _wins(swept: Swept, able: Sequence[Setting]) -> str:
    """Return who wins where: by stretches of one numeric axis, else by count."""
    name = swept.names.name
    axes = [axis for axis in swept.store.axes if axis.key in able[0].axes]
    if len(axes) == 1 and axes[0].numeric:
        (axis,) = axes
        ordered = sorted(able, key=lambda setting: number(axis.key, setting.axes[axis.key]))
        told = []
        for winner, stretch in groupby(ordered, key=lambda setting: name(setting.ranked[0])):
            values = [shown(setting.axes[axis.key]) for setting in stretch]
            told.append(f"{winner} at {' to '.join(dict.fromkeys((values[0], values[-1])))}")
        if len(told) <= NAMED:
            return f"The fastest that fits, by {short(axis.key)}: {', '.join(told)}.{_draws(able)}"
    counts = Counter(name(setting.ranked[0]) for setting in able).most_common()
    first, *rest = counts
    total = len(swept.settings)
    where = f"all {total} settings" if first[1] == total else f"{first[1]} of {total} settings"
    text = f"{first[0]} is the fastest that fits at {where}"
    return ", ".join([text, *(f"{who} at {count}" for who, count in rest)]) + f".{_draws(able)}"


def _draws(able: Sequence[Setting]) -> str:
    """Return at how many settings the first cannot be told from the second."""
    count = sum(setting.draw for setting in able)
    if not count:
        return ""
    return f" At {count} of them the first cannot be told from the second."


def _widest(swept: Swept, able: Sequence[Setting]) -> str:
    """Return where the winner wins by most."""
    widest = max(able, key=lambda setting: setting.margin or 0.0)
    if not widest.margin or widest.draw:
        return ""
    first, second = (swept.names.name(row) for row in widest.ranked[:2])
    place = ", ".join(f"{short(key)} {shown(value)}" for key, value in widest.axes.items())
    lead = f"{first} is {100 * widest.margin:.1f} % faster than {second}"
    return f"The widest margin: {lead} at {place}."


def _none(swept: Swept) -> str:
    count = sum(not setting.ranked for setting in swept.settings)
    if not count:
        return ""
    return f"At {count} setting{'s' if count > 1 else ''} nothing fits."
