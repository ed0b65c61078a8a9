"""Names in documents: what something is called in tables, messages and pictures."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from tspsim.files.characters import refused


def _in_one_line(name: str) -> str:
    if why := refused(name, lines=False):
        raise PydanticCustomError("name", "{why}; a name is one line of text", {"why": why})
    return name


#: One line of text.
Name = Annotated[str, AfterValidator(_in_one_line)]
