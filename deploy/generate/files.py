"""Which file of `deploy/` holds what; all of them are made, none is edited by hand."""

from __future__ import annotations

from pathlib import Path

from deploy.generate.dashboard import dashboard_json
from deploy.generate.kuberay import as_yaml, ray_job, ray_service, storage
from deploy.generate.sizes import FIFTY, FOUR_IN_HALVES, ClusterSize

HEADER = "# Made by `python -m deploy.generate`: change deploy/generate, not this file.\n"


def manifests_of(size: ClusterSize) -> dict[str, str]:
    """The manifests of one size, by file name."""
    return {
        f"rayservice-{size.name}.yaml": HEADER + as_yaml(ray_service(size)),
        f"rayjob-{size.name}.yaml": HEADER + as_yaml(ray_job(size)),
        "storage.yaml": HEADER + as_yaml(*storage()),
    }


def all_files() -> dict[Path, str]:
    """Every file that is made, by its path below `deploy/`."""
    kubernetes = {**manifests_of(FIFTY), **manifests_of(FOUR_IN_HALVES)}
    return {
        **{Path("kubernetes") / name: text for name, text in sorted(kubernetes.items())},
        Path("monitoring/grafana/perfusion-pool.json"): dashboard_json(),
    }
