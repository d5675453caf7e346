import numpy as np
import pytest

from deploy.tables import mean_line, members_table
from pool.errors import SettingsError
from pool.evaluation.members import SliceDice, compare_members
from pool.evaluation.overlap import dice
from pool.selection import MemberScore, Selection, select

TRUTH = np.array([[1, 1, 1, 1, 0, 0]], dtype=bool)
MASKS = {
    "a": np.array([[1, 1, 0, 0, 0, 0]], dtype=bool),  # Dice 4 / 6
    "b": np.array([[1, 1, 1, 1, 0, 0]], dtype=bool),  # Dice 1
    "c": np.zeros((1, 6), dtype=bool),  # Dice 0
}
SCORES = [
    MemberScore("a", 0.80, u_pp=0.01, u_tot=1.0, n_myo=2),
    MemberScore("b", 0.85, u_pp=0.02, u_tot=2.0, n_myo=4),
    MemberScore("c", 0.90, ineligible="the mask is empty"),
    MemberScore("d", 0.70, ineligible="shard 1 died"),
]


@pytest.fixture
def compared() -> SliceDice:
    return compare_members("mid", select(SCORES), MASKS, TRUTH)


def test_chosen_established_and_best_are_three_members(compared: SliceDice) -> None:
    assert (compared.chosen, compared.established, compared.best) == ("a", "c", "b")
    assert compared.of_chosen == pytest.approx(4 / 6)
    assert compared.of_established == 0.0  # its mask is empty: a failure, never a missing value
    assert compared.of_best == 1.0
    assert compared.by_member["d"] == 0.0
    assert compared.u_pp == {"a": 0.01, "b": 0.02, "c": None, "d": None}


def test_a_slice_without_a_chosen_member_counts_zero() -> None:
    none = compare_members("mid", select(SCORES[2:]), MASKS, TRUTH)
    assert (none.chosen, none.of_chosen) == (None, 0.0)


def test_a_selection_comes_back_from_result_json() -> None:
    selection = select(SCORES)
    rows = [
        {
            "id": s.member_id,
            "validation_dice": s.validation_dice,
            "u_pp": s.u_pp,
            "u_tot": s.u_tot,
            "n_myo": s.n_myo,
            "ineligible_reason": s.ineligible or None,
        }
        for s in selection.scores
    ]
    fields = {"members": rows, "chosen": selection.chosen, "reason": selection.reason}
    assert Selection.from_result(fields, "min-u_pp") == selection


def test_nothing_to_compare_and_other_shapes_are_refused() -> None:
    with pytest.raises(SettingsError, match="slice mid: needs at least one member to compare; found none"):
        compare_members("mid", Selection("min-u_pp", None, "", ()), {}, TRUTH)
    with pytest.raises(SettingsError, match=r"must have the same shape; found \(1, 6\) and \(6, 1\)"):
        dice(TRUTH, TRUTH.T)


def test_the_table_marks_who_was_believed(compared: SliceDice) -> None:
    from rich.console import Console

    console = Console(width=80, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(members_table([compared]))
    text = captured.get()
    assert "> 0.0100" in text
    assert "ineligible" in text
    assert mean_line([compared]) == "mean Dice over 1 slices: chosen 0.667, established 0.000, best 1.000"
