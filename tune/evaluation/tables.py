"""What an evaluation prints."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich import box
from rich.table import Table

from pool.evaluation.rules import MEMBERS_MEAN, ORACLE, RANDOM_MEMBER, RULE_NAMES
from pool.evaluation.statistics import SIGNIFICANT, TTests
from tune.evaluation.evaluate import Evaluation, SetResult

NOTES = (
    f"{MEMBERS_MEAN}: what to expect of any member; {RANDOM_MEMBER}: one by chance; {ORACLE}: the truth's choice.",
    "HD95 is inf where nothing is outlined, which also counts as Dice 0 and failed.",
    "Failed: blood plainly inside the outline, or a gap in it.",
    "The paper's tests take slices as independent; the last column's know that both rules see the same slices, and its",
    "t test that a subject has several.",
)


def rules_table(item: SetResult) -> Table:
    """Every rule's accuracy on one set."""
    evaluated = item.evaluated
    title = f"{evaluated.name} ({item.source.origin}): {evaluated.size_in_words}"
    if item.n_without_truth:
        title += f"\nleft out for want of myocardium in their labels: {item.n_without_truth}"
    headings = ("Dice\nmean", "\nsd", "\nleast", "HD95\nmean", "mm\nmedian", "\nmax", "failed\nn", "\n%", "regret")
    table = _table(title, "rule", headings)
    for rule in RULE_NAMES:
        if rule == MEMBERS_MEAN:
            table.add_section()
        found = evaluated.rule_accuracy(rule)
        digits = 1 if rule == MEMBERS_MEAN else 0
        table.add_row(
            rule,
            f"{found.dice.mean:.3f}",
            f"{found.dice.sd:.3f}" if found.dice.sd is not None else "-",
            f"{found.least_dice:.3f}",
            *(_mm(value) for value in (found.mean_hd95_mm, found.median_hd95_mm, found.most_hd95_mm)),
            f"{found.n_failed:.{digits}f}",
            f"{100 * found.n_failed / found.n_slices:.1f}",
            f"{evaluated.mean_regret(rule):.3f}",
        )
    return table


def tests_table(evaluation: Evaluation) -> Table:
    """The paper's rule against the established approach, set by set."""
    comparisons = evaluation.comparisons()
    title = f"{comparisons[0].rule} against {comparisons[0].against}: two-tailed p, * below {SIGNIFICANT:g}"
    table = _table(title, "set: slices (subjects)", ("", "difference", "paper's test", "paired test"))
    for found in comparisons:
        table.add_section()
        name = f"{found.name}: {found.n_slices} ({found.n_subjects})"
        table.add_row(name, "Dice", *_t_cells(found.dice, "+.3f"))
        table.add_row("", "HD95 mm", *_t_cells(found.hd95_mm, "+.2f"))
        failures = found.failures
        counts = f"{failures.n_failed[0]} against {failures.n_failed[1]}"
        table.add_row("", "failed", counts, f"Fisher {_p(failures.p_fisher)}", f"McNemar {_p(failures.p_mcnemar)}")
    return table


def remarks(evaluation: Evaluation) -> list[str]:
    """Why a p value is missing, a line each."""
    return [
        f"{found.name}, {what}: {tests.remark}"
        for found in evaluation.comparisons()
        for what, tests in (("Dice", found.dice), ("HD95", found.hd95_mm))
        if tests.remark
    ]


def members_table(item: SetResult) -> Table:
    """Every member's accuracy on one set, most often chosen first."""
    evaluated = item.evaluated
    title = f"{evaluated.name}: members, most often chosen by min-u_pp first"
    headings = ("chosen", "Dice", "HD95 mm\nmedian", "failed", "U_pp\nmean", "\nsd", "U_tot\nmean", "not\neligible")
    table = _table(title, "member", headings)
    found = [evaluated.member_summary(member_id) for member_id in evaluated.member_ids]
    for member in sorted(found, key=lambda member: (-member.n_chosen, member.member_id)):
        u_pp, u_tot = member.u_pp, member.u_tot
        table.add_row(
            member.member_id,
            str(member.n_chosen),
            f"{member.accuracy.dice.mean:.3f}",
            _mm(member.accuracy.median_hd95_mm),
            f"{member.accuracy.n_failed:.0f}",
            f"{u_pp.mean:.4f}" if u_pp else "-",
            f"{u_pp.sd:.4f}" if u_pp and u_pp.sd is not None else "-",
            f"{u_tot.mean:.1f}" if u_tot else "-",
            str(member.n_ineligible),
        )
    return table


def _table(title: str, first: str, headings: Sequence[str]) -> Table:
    """Narrow enough for 80 columns: without a terminal, nothing wider is shown whole."""
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=0, title_justify="left")
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _t_cells(tests: TTests, form: str) -> list[str]:
    difference = "-" if tests.difference is None else format(tests.difference, form)
    return [difference, f"t {_p(tests.p_unpaired)}", f"t {_p(tests.p_paired_subjects)}"]


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    text = f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"
    return f"{text} *" if value < SIGNIFICANT else text


def _mm(value: float) -> str:
    return "inf" if math.isinf(value) else f"{value:.2f}"
