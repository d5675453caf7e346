"""A strict schema of RayService and RayJob, `ray.io/v1`.

KubeRay's own custom resource definitions are in no package, so this one is made by hand from its Go types
(`ray-operator/apis/ray/v1`, 1.5.1; Apache-2.0): every field of the specs by name, with its type, and no others. What
they take from Kubernetes (pods, services) is checked with Kubernetes' own schemas, as `kubernetes-validate` ships them.
"""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

KUBERNETES = "1.31.0"
"""One version; the fields used are older by years."""
_DEFINITIONS = "https://kubernetes.io/api/_definitions.json"
Schema = dict[str, Any]


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": list(required)}


def _kubernetes(kind: str) -> Schema:
    return {"$ref": f"{_DEFINITIONS}#/$defs/{kind}"}


_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_YES_NO: Schema = {"type": "boolean"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_POD = _kubernetes("io.k8s.api.core.v1.PodTemplateSpec")
_SERVICE = _kubernetes("io.k8s.api.core.v1.Service")
_LABELS: Schema = {"labels": _TEXTS, "resources": _TEXTS}

_HEAD = _object(
    ("template",),
    serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    headService=_SERVICE,
    enableIngress=_YES_NO,
    rayStartParams=_TEXTS,
    template=_POD,
    **_LABELS,
)
_WORKERS = _object(
    ("groupName", "minReplicas", "maxReplicas", "template"),
    groupName=_TEXT,
    replicas=_COUNT,
    minReplicas=_COUNT,
    maxReplicas=_COUNT,
    numOfHosts=_COUNT,
    idleTimeoutSeconds=_COUNT,
    suspend=_YES_NO,
    rayStartParams=_TEXTS,
    template=_POD,
    scaleStrategy=_object(workersToDelete={"type": "array", "items": _TEXT}),
    **_LABELS,
)
_CLUSTER = _object(
    ("headGroupSpec",),
    rayVersion=_TEXT,
    headGroupSpec=_HEAD,
    workerGroupSpecs={"type": "array", "items": _WORKERS},
    enableInTreeAutoscaling=_YES_NO,
    autoscalerOptions={"type": "object"},
    gcsFaultToleranceOptions={"type": "object"},
    headServiceAnnotations=_TEXTS,
    suspend=_YES_NO,
    managedBy=_TEXT,
    authOptions=_object(mode={"enum": ["disabled", "token"]}),
)
_SPECS: dict[str, Schema] = {
    "RayService": _object(
        serveConfigV2=_TEXT,
        rayClusterConfig=_CLUSTER,
        serveService=_SERVICE,
        upgradeStrategy=_object(type={"enum": ["NewCluster", "NewClusterWithIncrementalUpgrade", "None"]}),
        excludeHeadPodFromServeSvc=_YES_NO,
        rayClusterDeletionDelaySeconds=_COUNT,
        suspend=_YES_NO,
    ),
    "RayJob": _object(
        activeDeadlineSeconds=_COUNT,
        backoffLimit=_COUNT,
        preRunningDeadlineSeconds=_COUNT,
        rayClusterSpec=_CLUSTER,
        submitterPodTemplate=_POD,
        metadata=_TEXTS,
        clusterSelector=_TEXTS,
        submitterConfig=_object(backoffLimit=_COUNT),
        managedBy=_TEXT,
        deletionStrategy={"type": "object"},
        entrypoint=_TEXT,
        runtimeEnvYAML=_TEXT,
        jobId=_TEXT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        entrypointResources=_TEXT,
        entrypointNumCpus={"type": "number"},
        entrypointNumGpus={"type": "number"},
        ttlSecondsAfterFinished=_COUNT,
        shutdownAfterJobFinishes=_YES_NO,
        suspend=_YES_NO,
    ),
}


def complaints(manifest: dict[str, Any]) -> list[str]:
    """What is wrong with a RayService or RayJob, with the place of each; empty if nothing is."""
    kind = manifest.get("kind", "")
    assert kind in _SPECS, kind
    schema = _object(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata=_kubernetes("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"),
        spec=_SPECS[kind],
    )
    definitions = schema_contents(f"kubernetes-json-schema/v{KUBERNETES}-local-strict/_definitions.json", KUBERNETES)
    registry = Resource.from_contents(definitions) @ Registry()
    validator = Draft202012Validator(schema, registry=registry)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]
