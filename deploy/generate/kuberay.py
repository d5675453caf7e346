"""Manifests for KubeRay: a RayService (the service) and a RayJob (a cohort) on a cluster of one size.

Fields as KubeRay 1.5.1 and later have them; `authOptions` wants that version. Both use what `storage.yaml` makes: a
shared volume, the service's tokens, and a network policy that keeps everybody but the operator from Ray's ports.
"""

from __future__ import annotations

from typing import Any

import yaml

from deploy.generate.sizes import TOKEN_FILE, ClusterSize
from serve.config_file import serve_config

RAY_VERSION = "2.60.0"
GPU = "nvidia.com/gpu"
"""The resource, and the taint that keeps other pods off such nodes."""
IMAGE = "perfusion-pool:0.1.0-gpu"
NAMESPACE = "perfusion"
USER_ID = 10001
"""Of the image's user; nothing runs as root."""
SHARED_CLAIM, TOKENS_SECRET = "perfusion-shared", "perfusion-tokens"
TOKENS_MODE = 0o440
"""The service refuses a token file that everybody may read; its group is the pod's."""
LABELS = {"perfusion-pool/part": "ray"}
"""A key of our own: KubeRay gives pods the recommended labels itself."""
GIB_PER_SHARD, GIB_PER_NODE = 4, 6
"""Memory [GiB] of a shard with its members and CUDA, and of a node beside its shards."""
HEAD_CPUS, HEAD_GIB = 4, 16
"""The head carries no shard, but the selector and the front may come to live there."""

Manifest = dict[str, Any]


def ray_service(size: ClusterSize) -> Manifest:
    """The service."""
    spec = {
        # A second cluster of the same size beside the first is seldom to be had: what changes, changes in place.
        "upgradeStrategy": {"type": "None"},
        "serveConfigV2": as_yaml(serve_config(size.settings())),
        "rayClusterConfig": _cluster(size),
    }
    return _resource("RayService", f"perfusion-{size.name}", spec)


def ray_job(size: ClusterSize) -> Manifest:
    """A cohort in `/shared/cohort`, sites then patients, into `/shared/results`."""
    settings = size.settings()
    words = "python -m serve batch /shared/cohort --out /shared/results --depth 2"
    command = f"{words} --threads {settings.threads_per_shard} --gpus {settings.gpus_per_shard:g}"
    spec = {
        # A study that failed has its reason in the table, which is no cause to do the job again.
        "entrypoint": f"{command} --exit-zero",
        "backoffLimit": 3,  # a new cluster each time; the run goes on where the last one ended
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 3600,
        "submissionMode": "K8sJobMode",
        "rayClusterSpec": _cluster(size),
    }
    return _resource("RayJob", f"perfusion-cohort-{size.name}", spec)


def storage() -> list[Manifest]:
    """What both need before: the shared volume and the network policy. The tokens are made by hand, see the guide."""
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": SHARED_CLAIM, "namespace": NAMESPACE, "labels": LABELS},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "500Gi"}}},
    }
    operator = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kuberay-operator"}}}
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    clients = {"podSelector": {"matchLabels": {"perfusion-pool/client": "yes"}}}
    submitter = {"podSelector": {"matchExpressions": [{"key": "job-name", "operator": "Exists"}]}}
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "perfusion-pool", "namespace": NAMESPACE, "labels": LABELS},
        "spec": {
            "podSelector": {"matchLabels": LABELS},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"podSelector": {"matchLabels": LABELS}}]},
                {"from": [operator, submitter], "ports": _ports(8000, 8265)},
                {"from": [monitoring], "ports": _ports(8000, 8080)},
                {"from": [clients], "ports": _ports(8000)},
            ],
        },
    }
    return [claim, policy]


def as_yaml(*documents: Any) -> str:
    """Documents as YAML, keys in their order; texts of several lines stay readable."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120, explicit_start=len(documents) > 1)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and never an anchor."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _ports(*numbers: int) -> list[dict[str, Any]]:
    return [{"protocol": "TCP", "port": number} for number in numbers]


def _resource(kind: str, name: str, spec: Manifest) -> Manifest:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": LABELS}
    return {"apiVersion": "ray.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def _cluster(size: ClusterSize) -> Manifest:
    cpus = int(size.shards_per_gpu * size.settings().cpus_per_shard)
    resources: dict[str, Any] = {
        "cpu": str(cpus + 1),
        "memory": f"{GIB_PER_NODE + GIB_PER_SHARD * size.shards_per_gpu}Gi",
        GPU: 1,
    }
    head = {"cpu": str(HEAD_CPUS), "memory": f"{HEAD_GIB}Gi"}
    return {
        "rayVersion": RAY_VERSION,
        "authOptions": {"mode": "token"},
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0"},
            "template": _pod("ray-head", head, head_ports=True),
        },
        "workerGroupSpecs": [
            {
                "groupName": "shards",
                "replicas": size.n_gpus,
                "minReplicas": size.n_gpus,
                "maxReplicas": size.n_gpus,
                # One CPU of the pod is Ray's own.
                "rayStartParams": {"num-cpus": str(cpus)},
                "template": _pod("ray-worker", resources, head_ports=False),
            }
        ],
    }


def _pod(name: str, resources: dict[str, Any], head_ports: bool) -> Manifest:
    container: dict[str, Any] = {
        "name": name,
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "env": [
            {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"},
            {"name": "MALLOC_ARENA_MAX", "value": "2"},
        ],
        "resources": {"limits": resources, "requests": resources},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
        },
        "volumeMounts": [
            {"name": "shared", "mountPath": "/shared"},
            {"name": "tokens", "mountPath": str(TOKEN_FILE.parent), "readOnly": True},
            {"name": "memory", "mountPath": "/dev/shm"},
        ],
    }
    if head_ports:
        container["ports"] = [
            {"name": port_name, "containerPort": number}
            for port_name, number in (("gcs", 6379), ("dashboard", 8265), ("serve", 8000), ("metrics", 8080))
        ]
    tolerations = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}] if GPU in resources else []
    return {
        "metadata": {"labels": LABELS},
        "spec": {
            "tolerations": tolerations,
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsUser": USER_ID,
                "runAsGroup": USER_ID,
                "fsGroup": USER_ID,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [
                {"name": "shared", "persistentVolumeClaim": {"claimName": SHARED_CLAIM}},
                {"name": "tokens", "secret": {"secretName": TOKENS_SECRET, "defaultMode": TOKENS_MODE}},
                {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "4Gi"}},
            ],
        },
    }
