"""What to write instead, where an override changes one key and the others no longer go with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tspsim.files.errors import Problem
from tspsim.files.source import AtKey, KeyPath
from tspsim.scenario.overrides import Override

#: Keys that say which other keys their section has, and the override of the whole section.
_WHOLE: Mapping[KeyPath, str] = {
    ("strategy", "kind"): "strategy={kind: ..., ...}",
    ("topology", "kind"): "topology={kind: ..., ...}",
    ("topology", "file"): "topology={file: ...}",
}


def with_hint(problem: Problem, overrides: Iterable[Override]) -> Problem:
    """Add to an unknown key how an override replaces the section: the file may be a shipped one.

    Parameters
    ----------
    problem : Problem
    overrides : iterable of Override
        Those of the scenario; the problem is theirs when one of them changes the section's kind.
    """
    changed = {each.path for each in overrides} & _WHOLE.keys()
    whole = [_WHOLE[path] for path in changed if path[0] == problem.path[0]]
    if not whole or not isinstance(problem, AtKey):
        return problem
    hint = f"write the override {whole[0]} to replace the whole {problem.path[0]}"
    return AtKey(problem.path, f"{problem.message}; {hint}")
