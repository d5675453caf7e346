"""Flow as drawings: what a study may lack."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pool.figures.flow import flow_figure, flow_png, top_of_scale
from pool.perfusion.results import AifRecord, SegmentFlow, SliceFlow, StudyFlow

AIF = AifRecord("lv-blood", "base", 40, 6.0, 0.6, 0.6, False, 12.0)


def slice_flow(name: str, segment: np.ndarray) -> SliceFlow:
    inside = segment > 0
    mbf = np.where(inside, 1.5, np.nan).astype(np.float32)
    failed = np.zeros(segment.shape, bool)
    return SliceFlow(name, "base", mbf, mbf * 0, failed, segment, inside, 0.0, None, "given")


@pytest.mark.parametrize("n_px", [40, 0])
def test_a_slice_without_myocardium_is_drawn_black(n_px: int) -> None:
    segment = np.zeros((30, 30), np.uint8)
    segment.flat[300 : 300 + n_px] = 2
    flow = StudyFlow(AIF, (slice_flow("base", segment),), (SegmentFlow(2, "basal anteroseptal", "base", n_px, 2.5),))
    axes = flow_figure(flow).axes
    assert [len(ax.images) for ax in axes[:2]] == [0, 2 if n_px else 0]
    assert axes[2].get_ylim() == (0.0, top_of_scale(flow)) == (0.0, 5.0)
    assert "compare segments" in flow_figure(flow).get_supxlabel()
    given = replace(flow, aif=replace(AIF, unsaturated_from="proton-density"))
    assert "compare segments" not in flow_figure(given).get_supxlabel()
    assert flow_png(flow).startswith(b"\x89PNG")
