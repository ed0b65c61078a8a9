"""The JSON Schema of scenario files: completion and checks while one is being written."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from tspsim.kernels import PRESETS
from tspsim.registry import SCHEDULES, STRATEGIES, TOPOLOGIES
from tspsim.scenario.schema import ScenarioKeys


def scenario_schema() -> dict[str, Any]:
    """Return the schema with every registered strategy, schedule and topology generator in it.

    An editor with a YAML language server uses it when a file begins with
    ``# yaml-language-server: $schema=../schema/scenario.schema.json``.
    """
    schema = ScenarioKeys.model_json_schema()
    definitions = schema["$defs"]
    properties = schema["properties"]
    properties["strategy"] = _one_of(STRATEGIES.names(), STRATEGIES.get, "strategy", definitions)
    definitions["Pipeline"]["properties"]["schedule"] = _schedule(definitions)
    inline = _one_of(TOPOLOGIES.names(), TOPOLOGIES.get, "topology", definitions)
    properties["topology"] = {"anyOf": [_named_file(), inline]}
    definitions["ModelKeys"] = _with_hf(definitions["ModelKeys"])
    definitions["TimingKeys"]["properties"]["profile"]["anyOf"].insert(0, {"type": "string"})
    properties["kernels"] = {"anyOf": [{"enum": list(PRESETS)}, properties["kernels"]]}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "tspsim scenario"}
    return head | {key: value for key, value in schema.items() if key != "title"}


def _one_of(
    names: tuple[str, ...], get: Any, what: str, definitions: dict[str, Any]
) -> dict[str, Any]:
    """Return a reference to the form of every kind, and put the forms into `definitions`."""
    references = []
    for name in names:
        form: type[BaseModel] = get(name)
        schema = form.model_json_schema(by_alias=True)
        definitions.update(schema.pop("$defs", {}))
        schema["title"] = f"{what} {name}"
        schema.setdefault("properties", {})["kind"] = {"const": name}
        schema["required"] = sorted({*schema.get("required", []), "kind"})
        definitions[f"{what}.{name}"] = schema
        references.append({"$ref": f"#/$defs/{what}.{name}"})
    return {"oneOf": references}


def _schedule(definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the form of a schedule: a name, one with options, a file, or the rows of one."""
    names = SCHEDULES.names()
    known = _one_of(names, SCHEDULES.get, "schedule", definitions)["oneOf"]
    rows = "a line of actions per rank: 0F0 0F1 0B0 0B1"
    forms = {
        "file": {"type": "string", "description": f"a text or CSV file with {rows}"},
        "rows": {"type": "array", "items": {"type": "string"}, "description": rows},
    }
    own = [
        {"type": "object", "properties": {key: form}, "required": [key]}
        | {"additionalProperties": False}
        for key, form in forms.items()
    ]
    return {"anyOf": [{"enum": list(names)}, *known, *own], "default": "1f1b"}


def _named_file() -> dict[str, Any]:
    return {
        "type": "object",
        "title": "topology file",
        "description": "a file, or a shipped name; further keys replace what stands in it",
        "properties": {"file": {"type": "string"}},
        "required": ["file"],
    }


def _with_hf(model: dict[str, Any]) -> dict[str, Any]:
    """Return the form of a model that is given by a config.json, by its keys, or by both."""
    hf = {"type": "string", "description": "a Hugging Face config.json, or a shipped name"}
    rest = {key: value for key, value in model.items() if key not in ("required", "properties")}
    return rest | {
        "properties": {"hf": hf, **model["properties"]},
        "anyOf": [{"required": ["hf"]}, {"required": model["required"]}],
    }
