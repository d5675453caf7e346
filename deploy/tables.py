"""The table that the demo and the check on real slices print: members, uncertainty, Dice."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from pool.evaluation.members import SliceDice


def members_table(slices: Sequence[SliceDice]) -> Table:
    """U_pp and Dice of every member on every slice; the chosen one marked, then chosen, established and best."""
    title = "U_pp and Dice of every member; > marks the one that was believed"
    if any(value is not None for item in slices for value in item.u_pp_estimate.values()):
        title += ", ~ an estimate from few patches, after which a member left the race"
    table = Table(title=title)
    table.add_column("member")
    for item in slices:
        table.add_column(f"{item.name}\nU_pp", justify="right", overflow="fold")
        table.add_column("\nDice", justify="right")
    for member_id in slices[0].by_member:
        cells: list[str] = []
        for item in slices:
            cells += [_u_pp_cell(item, member_id), f"{item.by_member[member_id]:.3f}"]
        table.add_row(member_id, *cells)
    table.add_section()
    for label, who, value in (
        ("chosen", [item.chosen or "none" for item in slices], [item.of_chosen for item in slices]),
        ("established", [item.established for item in slices], [item.of_established for item in slices]),
        ("best", [item.best for item in slices], [item.of_best for item in slices]),
    ):
        table.add_row(label, *(cell for name, dice in zip(who, value) for cell in (name, f"{dice:.3f}")))
    return table


def _u_pp_cell(item: SliceDice, member_id: str) -> str:
    u_pp, estimate = item.u_pp[member_id], item.u_pp_estimate[member_id]
    if u_pp is not None:
        return f"{'> ' if member_id == item.chosen else ''}{u_pp:.4f}"
    return f"~{estimate:.4f}" if estimate is not None else "ineligible"


def mean_line(slices: Sequence[SliceDice]) -> str:
    """Mean Dice over the slices: chosen, established, best."""
    n = len(slices)
    chosen, established, best = (
        sum(values) / n
        for values in (
            [item.of_chosen for item in slices],
            [item.of_established for item in slices],
            [item.of_best for item in slices],
        )
    )
    return f"mean Dice over {n} slices: chosen {chosen:.3f}, established {established:.3f}, best {best:.3f}"
