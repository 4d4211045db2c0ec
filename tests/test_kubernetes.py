"""The manifests of deploy/kubernetes: valid by Kubernetes' schemas, in agreement with the settings."""

import kubernetes_validate
import pytest
import yaml
from django.conf import settings

from tests.services import ROOT
from tests.test_deployment import READ_BY_SETTINGS

FILES = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
OBJECTS = [one for file in FILES for one in yaml.safe_load_all(file.read_text())]
OLDEST = "1.31"


def pod_of(one):
    """The specification of the pods of a workload; None where it has none."""
    spec = one.get("spec", {})
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    return spec.get("template", {}).get("spec")


PODS = {one["metadata"]["name"]: pod_of(one) for one in OBJECTS if pod_of(one)}
OURS = {name: pod for name, pod in PODS.items() if name != "broker"}


def named(kind, name):
    [one] = [x for x in OBJECTS if (x["kind"], x["metadata"]["name"]) == (kind, name)]
    return one


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_every_object_is_valid_and_has_no_field_that_kubernetes_does_not_take(version):
    assert len(OBJECTS) > 15
    for one in OBJECTS:
        kubernetes_validate.validate(one, version, strict=True)


def test_no_pod_runs_as_root_or_writes_beside_its_volumes_and_each_has_its_limits():
    for name, pod in PODS.items():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert {"requests", "limits"} <= set(container["resources"]), name
            assert ":" in container["image"], name


def test_what_runs_on_is_watched():
    for one in OBJECTS:
        if one["kind"] == "Deployment":
            [container] = pod_of(one)["containers"]
            assert "livenessProbe" in container, one["metadata"]["name"]
    [web] = PODS["web"]["containers"]
    assert web["livenessProbe"]["httpGet"]["path"] == "/health/live/"
    assert web["readinessProbe"]["httpGet"]["path"] == "/health/ready/"


def test_every_variable_is_one_that_the_settings_read():
    given = set(named("ConfigMap", "leukoweb")["data"])
    for pod in OURS.values():
        given |= {variable["name"] for container in pod["containers"] for variable in container.get("env", [])}
    assert given - {"PROMETHEUS_MULTIPROC_DIR"} <= READ_BY_SETTINGS


def test_every_queue_has_its_worker_and_the_long_one_a_worker_of_its_own():
    def queues(name):
        [container] = PODS[name]["containers"]
        return container["args"][container["args"].index("-Q") + 1].split(",")

    assert queues("worker") + queues("worker-long") == [queue.name for queue in settings.CELERY_TASK_QUEUES]
    assert queues("worker-gpu") == queues("worker")
    [gpu] = PODS["worker-gpu"]["containers"]
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_only_the_migration_is_the_owner_of_the_tables():
    owners = [name for name, pod in PODS.items() if "leukoweb-owner" in str(pod)]
    assert owners == ["migrate"]
    assert not [
        one for one in OBJECTS if one["kind"] == "Secret"
    ]  # secrets are made by the operator, not kept in files


def test_nothing_reaches_a_pod_but_by_a_policy():
    closed = named("NetworkPolicy", "closed")["spec"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in OBJECTS if one["kind"] == "Deployment"]
    for policy in [one["spec"] for one in OBJECTS if one["kind"] == "NetworkPolicy"]:
        wanted = policy["podSelector"].get("matchLabels", {})
        assert any(wanted.items() <= its.items() for its in labels), policy


def test_the_autoscaler_asks_for_a_figure_that_the_product_prints():
    from leukoweb.ops.figures import TITLES

    [metric] = named("HorizontalPodAutoscaler", "worker")["spec"]["metrics"]
    assert metric["external"]["metric"]["name"] in TITLES
