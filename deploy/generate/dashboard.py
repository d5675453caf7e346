"""Grafana's dashboard: what the service says of itself at `/metrics`, as panels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

SOURCE = {"type": "prometheus", "uid": "prometheus"}
SELECTED = 'job="perfusion-service"'
WIDTH, HEIGHT = 8, 8
"""Of a panel, in units of which a row has 24."""


@dataclass(frozen=True)
class Panel:
    """One chart."""

    title: str
    queries: tuple[tuple[str, str], ...]
    """PromQL and the legend of its curves."""
    unit: str
    """Grafana's name of it."""
    says: str
    """What it is good for."""
    kind: str = "timeseries"


def _quantile(share: float, metric: str, window: str, *labels: str) -> str:
    by = ", ".join(("le", *labels))
    return f"histogram_quantile({share}, sum by ({by}) (rate({metric}_bucket{{{SELECTED}}}[{window}])))"


PANELS = (
    Panel(
        "Studies waiting and in work",
        (
            (f'sum by (state) (pool_studies{{{SELECTED}, state=~"received|running"}})', "{{state}}"),
            (f"max(pool_queue_limit{{{SELECTED}}})", "room"),
        ),
        "short",
        "At the line of room, uploads are told to come again later.",
    ),
    Panel(
        "Studies ended an hour",
        ((f"sum by (state) (increase(pool_studies_ended_total{{{SELECTED}}}[1h]))", "{{state}}"),),
        "short",
        "Done, failed and cancelled.",
    ),
    Panel(
        "Service and selector",
        ((f"up{{{SELECTED}}}", "front"), (f"max(pool_selector_up{{{SELECTED}}})", "selector")),
        "bool_yes_no",
        "Both must be there; studies wait on disk while they are not.",
        "stat",
    ),
    Panel(
        "Latency by stage, median",
        ((_quantile(0.5, "pool_stage_seconds", "30m", "stage"), "{{stage}}"),),
        "s",
        "Queue, read, sweep, write, and from acceptance to the end.",
    ),
    Panel(
        "Latency by stage, 95 %",
        ((_quantile(0.95, "pool_stage_seconds", "30m", "stage"), "{{stage}}"),),
        "s",
        "What the slowest studies take.",
    ),
    Panel(
        "Requests, 95 %",
        ((_quantile(0.95, "pool_request_seconds", "10m", "route"), "{{route}}"),),
        "s",
        "Time until an answer begins.",
    ),
    Panel(
        "U_pp of the believed member",
        tuple((_quantile(share, "pool_u_pp", "6h"), f"{share:.0%}") for share in (0.1, 0.5, 0.9)),
        "short",
        "A median that climbs says that a scanner or a protocol has changed: look at the outlines.",
    ),
    Panel(
        "U_pp, distribution",
        ((f"sum by (le) (increase(pool_u_pp_bucket{{{SELECTED}}}[1h]))", "{{le}}"),),
        "short",
        "Slices an hour by U_pp.",
        "heatmap",
    ),
    Panel(
        "Chosen members",
        ((f"topk(10, sum by (member) (increase(pool_chosen_total{{{SELECTED}}}[1d])))", "{{member}}"),),
        "short",
        "One member that is nearly always believed, or a new favourite, is worth a look.",
    ),
    Panel(
        "Slices without an outline",
        ((f"sum(increase(pool_slices_without_outline_total{{{SELECTED}}}[1h]))", "slices an hour"),),
        "short",
        "No member could be believed.",
    ),
    Panel(
        "Failures of shards and members",
        (
            (f"sum by (shard) (increase(pool_shard_failures_total{{{SELECTED}}}[1h]))", "shard {{shard}}"),
            (f"sum(increase(pool_absent_sweeps_total{{{SELECTED}}}[1h]))", "sweeps without an answer"),
        ),
        "short",
        "Shards are asked again after a failure; the same one again and again is a broken node.",
    ),
    Panel(
        "Uploads by outcome, answers by status",
        (
            (f"sum by (outcome) (increase(pool_uploads_total{{{SELECTED}}}[1h]))", "{{outcome}}"),
            (
                f'sum by (status) (increase(pool_request_seconds_count{{{SELECTED}, status=~"[45].."}}[1h]))',
                "{{status}}",
            ),
        ),
        "short",
        "429 and 503 say that the queue is full, 422 that a study cannot be read.",
    ),
    Panel(
        "Expected Dice of the believed member, ASL",
        tuple((_quantile(share, "pool_expected_dice", "6h"), f"{share:.0%}") for share in (0.1, 0.5, 0.9)),
        "short",
        "By the members' calibrations: it falls when images are unlike those they were learned on.",
    ),
)


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana 12 provisions it."""
    return {
        "uid": "perfusion-pool",
        "title": "Perfusion pool",
        "tags": ["perfusion-pool"],
        "timezone": "browser",
        "schemaVersion": 41,
        "version": 1,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": []},
        "annotations": {"list": []},
        "panels": [_panel(number, panel) for number, panel in enumerate(PANELS)],
    }


def dashboard_json() -> str:
    """The same as a file."""
    return json.dumps(dashboard(), indent=1) + "\n"


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    per_row = 24 // WIDTH
    return {
        "id": number + 1,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": SOURCE,
        "gridPos": {"x": number % per_row * WIDTH, "y": number // per_row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"calculate": False} if panel.kind == "heatmap" else {},
        "targets": [
            {
                "refId": chr(ord("A") + i),
                "datasource": SOURCE,
                "expr": query,
                "legendFormat": legend,
                "format": "heatmap" if panel.kind == "heatmap" else "time_series",
            }
            for i, (query, legend) in enumerate(panel.queries)
        ],
    }
