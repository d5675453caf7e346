"""What an evaluation of blood flow prints."""

from __future__ import annotations

from rich import box
from rich.table import Table

from tune.evaluation.flow import RULES, FlowSet


def flow_table(item: FlowSet) -> Table:
    """Every comparison of one set: regression, correlation, Bland and Altman."""
    studies = len({row.study for row in item.rows})
    title = f"{item.name}: blood flow of segments, {studies} dual-bolus studies, mL/min/g"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=0, title_justify="left")
    table.add_column("outline - reference", no_wrap=True)
    for heading in ("n", "slope", "offset", "R2", "p", "bias", "limits of agreement", "bias %", "limits %"):
        table.add_column(heading, justify="right", no_wrap=True)
    for (measured, reference), found in item.agreements().items():
        table.add_row(
            f"{measured} - {reference}",
            str(found.n),
            f"{found.slope:.2f}",
            f"{found.intercept:+.2f}",
            f"{found.r_squared:.3f}",
            f"{found.p_value:.0e}",
            f"{found.bias:+.2f}",
            f"{found.limits[0]:+.2f} {found.limits[1]:+.2f}",
            f"{found.bias_percent:+.1f}",
            f"{found.limits_percent[0]:+.0f} {found.limits_percent[1]:+.0f}",
        )
    return table


def flow_remarks(item: FlowSet) -> list[str]:
    """Segments that a rule left without a flow, and studies without any, a line each."""
    lines = [f"{item.name}, {rule}: {n} segments without a flow" for rule in RULES if (n := item.n_missing(rule))]
    return lines + list(item.reasons)
