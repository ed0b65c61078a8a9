"""``key=value``: what the right-hand side means, and where it goes."""

from __future__ import annotations

from typing import Any

import pytest

from tspsim.scenario.overrides import apply, parse_override, parse_overrides


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=4", 4),
        ("a=1e-5", 1e-5),
        ("a=off", "off"),
        ("a=true", True),
        ("a=450 GB/s", "450 GB/s"),
        ("a=[2, 4]", [2, 4]),
        ("a={kind: tp, degree: 8}", {"kind": "tp", "degree": 8}),
        ("a='4'", "4"),
        ("a=null", None),
        ("a= 4 ", 4),
        ("a=b=c", "b=c"),
    ],
)
def test_value_is_yaml(text: str, value: Any) -> None:
    """The right-hand side means what it would mean in a file (YAML 1.2)."""
    found = parse_override(text).value
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a.b=2", {"a": {"b": 2}, "list": [{"x": 1}]}),
        ("new.deep.key=2", {"a": {"b": 1}, "list": [{"x": 1}], "new": {"deep": {"key": 2}}}),
        ("list.0.x=2", {"a": {"b": 1}, "list": [{"x": 2}]}),
        ("a=2", {"a": 2, "list": [{"x": 1}]}),
    ],
)
def test_value_goes_where_the_path_leads(override: str, expected: dict[str, Any]) -> None:
    """Keys that are not there yet are made; list items are reached by their number."""
    data = {"a": {"b": 1}, "list": [{"x": 1}]}
    assert apply(data, [parse_override(override)]) == (expected, [])


def test_original_is_left_alone() -> None:
    """A file's values can be overridden twice from the same reading."""
    data = {"a": {"b": 1}}
    apply(data, parse_overrides(["a.b=2"]))
    assert data == {"a": {"b": 1}}


def test_later_override_counts() -> None:
    """Of two for the same key the second one wins."""
    assert apply({}, parse_overrides(["a.b=1", "a.b=2"])) == ({"a": {"b": 2}}, [])


def test_two_overrides_share_no_value() -> None:
    """A later change inside a value that an override brought does not change the override."""
    overrides = parse_overrides(["a={b: 1}", "a.b=2"])
    apply({}, overrides)
    assert overrides[0].value == {"b": 1}


def test_named_device_can_be_changed_in_one_value() -> None:
    """``device: name`` becomes that file with one value replaced."""
    data, lines = apply({"device": "h100-sxm"}, parse_overrides(["device.memory=40 GiB"]))
    assert (data, lines) == ({"device": {"file": "h100-sxm", "memory": "40 GiB"}}, [])


def test_path_through_a_list_without_that_item_is_told() -> None:
    """A list does not grow by an override."""
    _, lines = apply({"shape": [2, 4]}, parse_overrides(["shape.2=8"]))
    assert lines == ["override 'shape.2=8': 'shape' is a list of 2 and has no key '2'"]
