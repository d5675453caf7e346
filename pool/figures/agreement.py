"""Agreement of two measurements as the paper's figures S2 and S3 show it: regression, and Bland and Altman's plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pool.evaluation.agreement import Agreement

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINT_COLOUR, LINE_COLOUR = "#2a6f97", "#d1495b"


def draw_regression(
    measured: np.ndarray, reference: np.ndarray, found: Agreement, ax: Axes, names: tuple[str, str]
) -> Axes:
    """Pairs with identity and regression line.

    Args:
        measured, reference: `pair` [mL/min/g].
        found: their agreement.
        ax: axes.
        names: of the measurement and of the reference.
    """
    top = 1.05 * float(max(measured.max(), reference.max()))
    ax.plot([0, top], [0, top], color="#b0b4ba", linewidth=0.8, linestyle="--")
    ax.plot([0, top], [found.intercept, found.intercept + found.slope * top], color=LINE_COLOUR, linewidth=1.2)
    ax.scatter(reference, measured, s=10, color=POINT_COLOUR, alpha=0.7, linewidths=0)
    p = "p < 0.0001" if found.p_value < 1e-4 else f"p = {found.p_value:.4f}"
    text = f"y = {found.slope:.2f} x {found.intercept:+.2f}\nR² = {found.r_squared:.2f}, {p}, n = {found.n}"
    ax.text(0.04, 0.96, text, transform=ax.transAxes, va="top", fontsize=8)
    ax.set_xlim(0, top)
    ax.set_ylim(0, top)
    ax.set_xlabel(f"MBF, {names[1]} (mL/min/g)")
    ax.set_ylabel(f"MBF, {names[0]} (mL/min/g)")
    return ax


def draw_bland_altman(measured: np.ndarray, reference: np.ndarray, found: Agreement, ax: Axes) -> Axes:
    """Differences against means, with bias and 95 % limits of agreement."""
    ax.scatter((measured + reference) / 2, measured - reference, s=10, color=POINT_COLOUR, alpha=0.7, linewidths=0)
    for value, style in ((found.bias, "-"), *((limit, "--") for limit in found.limits)):
        ax.axhline(value, color=LINE_COLOUR, linewidth=1.0, linestyle=style)
        ax.annotate(
            f"{value:+.2f}", (1.0, value), xycoords=("axes fraction", "data"), fontsize=7, va="bottom", ha="right"
        )
    ax.set_xlabel("mean MBF (mL/min/g)")
    ax.set_ylabel("difference (mL/min/g)")
    return ax
