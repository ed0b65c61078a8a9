"""What all sections of a scenario have in common."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

#: Nothing is counted further: products of some counts are still finite numbers.
MOST = 10**15

Count = Annotated[int, Field(ge=1, le=MOST)]


class Section(BaseModel):
    """A mapping of a scenario: no unknown key, no silent conversion, no change after reading."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", strict=True)
