"""Makes ``tspsim/scenario/typed.pyi``: what editors and type checkers read of the sections."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import Parameter, getmembers, isclass, signature
from pathlib import Path
from textwrap import indent

from tspsim.scenario import typed
from tspsim.scenario.stated import Stated

PAGE = Path(__file__).resolve().parent.parent / "tspsim" / "scenario" / "typed.pyi"

_HEAD = '''"""The sections of a scenario as classes: made by ``python docs/refresh.py python``."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal

from tspsim.scenario.stated import Stated
'''


def written() -> str:
    """Return the text of the stub."""
    found = [each for _, each in getmembers(typed, isclass) if each.__module__ == typed.__name__]
    ordered = sorted(found, key=lambda each: (len(each.__mro__), each.__name__))
    return _HEAD + "".join(f"\n\n{_class(each)}" for each in ordered)


def _class(section: type[Stated]) -> str:
    """Return one class: what it is, and what it takes."""
    base = section.__mro__[1].__name__
    about = indent(f'"""{section.__doc__}\n"""', "    ", lambda line: bool(line.strip()))
    takes = "\n".join(f"        {line}," for line in _parameters(section))
    made = f"    def __init__(\n        self,\n{takes}\n    ) -> None: ..."
    others = "".join(
        f"\n    @classmethod\n    def {name}{_with_class(section, name)}: ..."
        for name, value in vars(section).items()
        if isinstance(value, classmethod)
    )
    return f"class {section.__name__}({base}):\n{about}\n\n{made}{others}\n"


def _parameters(section: type[Stated]) -> Iterator[str]:
    """Yield a line for every key."""
    parameters = list(signature(section).parameters.values())
    if parameters[0].kind is Parameter.KEYWORD_ONLY:
        yield "*"
    for number, each in enumerate(parameters):
        stars = "**" if each.kind is Parameter.VAR_KEYWORD else ""
        default = "..." if each.default is ... else repr(each.default)
        given = "" if each.default is Parameter.empty else f" = {default}"
        yield f"{stars}{each.name}: {each.annotation}{given}"
        if number == 0 and each.kind is Parameter.POSITIONAL_OR_KEYWORD:
            yield "*"


def _with_class(section: type[Stated], name: str) -> str:
    text = str(signature(getattr(section, name))).replace("'", "")
    return text.replace("(", "(cls, ", 1)
