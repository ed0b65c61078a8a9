"""The message classes of execution traces, made from ``execution_trace.proto`` beside this module.

That file is read here, so what runs cannot differ from what is shipped, and no generated code has
to fit the version of protobuf that is installed. Only the few kinds of line that it has are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

#: The schema, for other programs too.
PROTO = Path(__file__).with_name("execution_trace.proto")
#: The version of Chakra that is written, as by its converters, and all with the same field numbers.
VERSION, KNOWN = "0.0.4", ("0.0.4", "1.0.0")


@cache
def messages() -> Any:
    """Return the classes of all messages, and the enums, by name."""
    from google.protobuf import descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()  # of its own: another library may know the same names
    pool.Add(described(PROTO.read_text(encoding="utf-8")))
    file = pool.FindFileByName(PROTO.name)
    classes = {
        name: message_factory.GetMessageClass(found)
        for name, found in file.message_types_by_name.items()
    }
    enums = {
        name: {value.name: value.number for value in found.values}
        for name, found in file.enum_types_by_name.items()
    }
    return SimpleNamespace(**classes, **enums)


def described(text: str) -> Any:
    """Return a schema as protobuf's own description of a file."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    file = FileDescriptorProto(name=PROTO.name, syntax="proto3")
    inside: list[Any] = [file]
    for words in _statements(text):
        match words:
            case ["}"]:
                inside.pop()
            case ["package", name]:
                file.package = name
            case ["message", name]:
                inside.append(file.message_type.add(name=name))
            case ["enum", name]:
                inside.append(file.enum_type.add(name=name))
            case ["oneof", name]:
                inside.append(inside[-1].oneof_decl.add(name=name))
            case [name, "=", number] if len(inside) > 1:
                inside[-1].value.add(name=name, number=int(number))
            case [*label, kind, name, "=", number]:
                _add_field(file, inside, name=name, number=int(number), kind=kind, label=label)
    return file


def _statements(text: str) -> Iterator[list[str]]:
    """Yield the words of every line, without what ends it."""
    for statement in re.findall(r"\}|[^;{}]+", re.sub(r"//.*", "", text)):
        if words := statement.split():
            yield words


def _add_field(
    file: Any, inside: list[Any], *, name: str, number: int, kind: str, label: list[str]
) -> None:
    """Add a field to the message that is open, or to the choice that is open in it."""
    chosen = inside[-1] if hasattr(inside[-2], "oneof_decl") else None
    message = inside[-2] if chosen else inside[-1]
    field = message.field.add(name=name, number=number)
    field.label = field.LABEL_REPEATED if label == ["repeated"] else field.LABEL_OPTIONAL
    if chosen:
        field.oneof_index = len(message.oneof_decl) - 1
    scalar = f"TYPE_{kind.upper()}"
    if hasattr(field, scalar):
        field.type = getattr(field, scalar)
        return
    enums = {found.name for found in file.enum_type}  # they stand in front of what names them
    field.type = field.TYPE_ENUM if kind in enums else field.TYPE_MESSAGE
    field.type_name = f".{file.package}.{kind}"
