"""What every part of a topology file has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from tspsim.files.errors import did_you_mean


def problem(message: str) -> PydanticCustomError:
    """Return an error for a pydantic validator to raise: exactly `message`, no prefix."""
    return PydanticCustomError("topology", "{problem}", {"problem": message})


class Form(BaseModel):
    """A part of a topology file: strict, frozen, and able to say where its numbers come from.

    Parameters
    ----------
    source : str or dict
        One text for all numbers of this part, or one text by key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)

    source: str | dict[str, str] = Field(
        default="", description="Where the numbers come from: one text, or one text by key"
    )

    @model_validator(mode="after")
    def _sources_name_keys(self) -> Form:
        if isinstance(self.source, dict):
            fields = type(self).model_fields
            known = {field.alias or name for name, field in fields.items()}
            for key in sorted(self.source.keys() - known):
                guess = did_you_mean(key, known)
                raise problem(f"source: '{key}' is no key of this part{guess}")
        return self
