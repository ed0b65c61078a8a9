"""``tspsim plan`` of a phase of inference: batches and contexts that limits allow."""

from __future__ import annotations

import json as json_text
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tspsim.cli.guard import DOES_NOT_FIT, say, show, show_json

if TYPE_CHECKING:
    from tspsim.plan.inference import Asked, Limits, Served
    from tspsim.scenario.loader import Opened


def is_asked(data: Mapping[str, Any]) -> bool:
    """Whether a scenario's keys are of a phase of inference."""
    from tspsim.kernels import INFERENCE

    workload = data.get("workload")
    return isinstance(workload, dict) and workload.get("phase") in INFERENCE


def plan_inference(
    opened: Opened,
    overrides: list[str],
    fixed: Mapping[str, Any],
    limits: tuple[str | None, str | None],
    options: Mapping[str, Any],
) -> None:
    """Print what every strategy serves, and write it where asked.

    Parameters
    ----------
    opened : Opened
    overrides : list of str
        Beside those of the strategy.
    fixed : Mapping
        What is stated of the strategy.
    limits : (str or None, str or None)
        Time per token, and to the first token.
    options : Mapping
        ``longest``, ``jobs``, ``output``, ``json``.
    """
    from tspsim.cli.progress import progress
    from tspsim.plan.inference import Asked, check, plan_inference, strategies
    from tspsim.reports import inference_plan as report
    from tspsim.scenario.loader import from_document

    output: Path | None = options["output"]
    if output is not None and output.suffix != ".json":
        from tspsim.output.pictures import check_suffix

        check_suffix(output)
    data = opened.data(overrides)
    check(data)
    devices = _devices(data)
    base = from_document({**data, "strategy": {"kind": "tp", "degree": 1, "dp": devices}})
    asked = Asked(data, _limits(limits), longest=options["longest"])
    ways = strategies(data, devices, fixed)
    with progress("planning") as advance:
        found = plan_inference(asked, ways, options["jobs"], advance)
    prices = [device.price for device in base.topology.devices]
    hourly = None if None in prices else sum(price for price in prices if price is not None)
    if options["json"]:
        show_json(report.to_dict(asked, found, hourly))
    else:
        show(report.render(asked, found, hourly))
    if output is not None:
        _write(asked, found, hourly, output)
    if not any(each.largest for each in found):
        raise SystemExit(DOES_NOT_FIT)


def _devices(data: Mapping[str, Any]) -> int:
    from tspsim.topology.load import parse

    return parse(data["topology"]).count()


def _limits(limits: tuple[str | None, str | None]) -> Limits:
    from tspsim.files.errors import UserError
    from tspsim.files.units import quantity
    from tspsim.plan.inference import Limits

    read: list[float | None] = []
    for name, text in zip(("--per-token", "--first-token"), limits, strict=True):
        try:
            read.append(None if text is None else quantity(text, "s"))
        except ValueError as error:
            raise UserError(f"{name}: {error}") from None
    return Limits(*read)


def _write(asked: Asked, found: list[Served], hourly: float | None, output: Path) -> None:
    from tspsim.files.errors import OutputError
    from tspsim.reports import inference_plan as report

    if output.suffix == ".json":
        text = json_text.dumps(report.to_dict(asked, found, hourly), indent=2) + "\n"
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{output}: cannot be written: {error.strerror}") from None
    else:
        from tspsim.output import pictures

        pictures.save(report.plot(asked, found).figure, output, f"plan of {asked.phase}")  # type: ignore[arg-type]
    say(f"wrote {output}")
