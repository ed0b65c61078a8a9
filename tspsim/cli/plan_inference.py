"""``tspsim plan`` of a phase of inference: batches and contexts that limits allow."""

from __future__ import annotations

import json as json_text
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tspsim.cli.guard import DOES_NOT_FIT, say, show, show_json

if TYPE_CHECKING:
    from tspsim.plan.inference import Asked, Served
    from tspsim.scenario.loader import Opened


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
    from tspsim.plan.inference import plan_inference
    from tspsim.plan.inference_asking import ask
    from tspsim.reports import inference_plan as report

    output: Path | None = options["output"]
    if output is not None and output.suffix != ".json":
        from tspsim.output import pictures

        pictures.check(output)
    question = ask(opened, overrides, fixed, limits, longest=options["longest"])
    asked, hourly = question.asked, question.hourly
    with progress("planning") as advance:
        found = plan_inference(asked, question.ways, options["jobs"], advance)
    if options["json"]:
        show_json(report.to_dict(asked, found, hourly))
    else:
        show(report.render(asked, found, hourly))
    if output is not None:
        _write(asked, found, hourly, output)
    if not any(each.largest for each in found):
        raise SystemExit(DOES_NOT_FIT)


def _write(asked: Asked, found: list[Served], hourly: float | None, output: Path) -> None:
    from tspsim.files.writing import write_text
    from tspsim.reports import inference_plan as report

    if output.suffix == ".json":
        text = json_text.dumps(report.to_dict(asked, found, hourly), indent=2) + "\n"
        write_text(output, text)
    else:
        from tspsim.output import pictures

        pictures.save(report.plot(asked, found).figure, output, f"plan of {asked.phase}")  # type: ignore[arg-type]
    say(f"wrote {output}")
