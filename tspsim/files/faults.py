"""Turns what pydantic finds wrong into problems in plain words, with a suggestion."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from datetime import date
from numbers import Number
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from tspsim.files.errors import Problem, did_you_mean
from tspsim.files.source import AtKey, KeyPath

#: What is allowed, by pydantic's name of the error.
_ALLOWED = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "dict_type": "a mapping of keys",
    "list_type": "a list in brackets",
    "tuple_type": "a list in brackets",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number of at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "finite_number": "a finite number",
    "string_too_short": "text that is not empty",
    "string_too_long": "text of at most {max_length} characters",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
}


def problems(
    error: ValidationError, model: type[BaseModel], data: Any, prefix: KeyPath = ()
) -> list[Problem]:
    """Return one problem per mistake that pydantic found.

    Parameters
    ----------
    error : ValidationError
    model : type of BaseModel
        What the data was held against: knows which keys there could have been.
    data : object
        What was validated.
    prefix : tuple of str or int
        Where `data` stands in the whole file.
    """
    details = error.errors(include_url=False)
    found_wrong = [_problem(each, model, data, prefix) for each in details]
    # A misspelt key is one mistake, not an unknown key and a missing one.
    meant = {
        (*problem.path[:-1], key)
        for problem in found_wrong
        if isinstance(problem, AtKey)
        for key in _keys(model, problem.path[len(prefix) : -1])
        if f"'{key}'" in did_you_mean(str(problem.path[-1]), [key])
    }
    missing = {(*prefix, *each["loc"]) for each in details if each["type"] == "missing"}
    return [problem for problem in found_wrong if problem.path not in meant & missing]


def found(value: Any) -> str:
    """Return a value as it is shown in messages: ``found 'x'``."""
    if value is None:
        return "found nothing"
    if isinstance(value, bool):
        return f"found {str(value).lower()}"
    if isinstance(value, Mapping):
        return "found a mapping"
    if isinstance(value, list | tuple):
        return "found a list"
    if type(value).__module__ != "builtins" and not isinstance(value, str | Number | date):
        return f"found {one(type(value).__name__)}"
    text = repr(value)
    return f"found {text if len(text) <= 60 else text[:57] + '...'}"


def one(name: str) -> str:
    """Return what one of a class is called: ``an Axes``."""
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def _problem(details: ErrorDetails, model: type[BaseModel], data: Any, prefix: KeyPath) -> Problem:
    kind, value = details["type"], details["input"]
    path = _real(details["loc"], data, kind)
    context = details.get("ctx", {})
    if kind == "missing":
        return Problem((*prefix, *path), _missing(model, path))
    if kind == "extra_forbidden":
        known = _keys(model, path[:-1])
        near = did_you_mean(str(path[-1]), known)
        return AtKey((*prefix, *path), f"unknown key{near}; known: {', '.join(known) or 'none'}")
    if kind in ("literal_error", "enum"):
        options = re.findall(r"'([^']*)'", str(context["expected"]))
        near = did_you_mean(str(value), options)
        return Problem((*prefix, *path), f"{found(value)}; allowed: {', '.join(options)}{near}")
    if kind == "value_error":
        return Problem((*prefix, *path), str(context["error"]))
    if kind in ("quantity", "topology", "name"):  # tspsim's own: say already what was found
        return Problem((*prefix, *path), details["msg"])
    if kind in _ALLOWED:
        limits = {k: f"{v:g}" if isinstance(v, float) else v for k, v in context.items()}
        allowed = _ALLOWED[kind].format(**limits)
        return Problem((*prefix, *path), f"{found(value)}; must be {allowed}")
    return Problem((*prefix, *path), f"{found(value)}: {details['msg']}")


def _missing(model: type[BaseModel], path: KeyPath) -> str:
    parent = _model_at(model, path[:-1])
    field = parent.model_fields.get(str(path[-1])) if parent else None
    hint = f": {field.description}" if field and field.description else ""
    return f"missing{hint}"


def _real(loc: KeyPath, data: Any, kind: str) -> KeyPath:
    """Return a pydantic location without the parts that only name a branch of a union."""
    real: list[str | int] = []
    for position, part in enumerate(loc):
        inside = part in data if isinstance(data, Mapping) else _is_place(data, part)
        if inside:
            data = data[part]
        elif kind != "missing" or position + 1 < len(loc):
            continue
        real.append(part)
    return tuple(real)


def _is_place(data: Any, part: str | int) -> bool:
    return isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)


def _model_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    """Return the model that a path of keys leads to, through optional fields and lists too."""
    here: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int):
            continue
        field = next((f for k, f in _fields(here) if k == part), None) if here else None
        here = _first_model(field.annotation) if field else None
    return here


def _fields(model: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    return [(field.alias or name, field) for name, field in model.model_fields.items()]


def _first_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_first_model(argument) for argument in typing.get_args(annotation))
    return next((found_model for found_model in inner if found_model), None)


def _keys(model: type[BaseModel], path: KeyPath) -> list[str]:
    parent = _model_at(model, path)
    return [name for name, _ in _fields(parent)] if parent else []
