"""The watcher's manifest: one source, the rights that the code uses and no others, options that change what they say."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from kube_gateway import manifests
from kube_gateway.cli.install import command as install
from kube_gateway.cli.watch import command as watch
from kube_gateway.kube.refusals import rule_for
from kube_gateway.watcher import configuration, identity_store, summary
from watcher.cluster_world import World
from watcher.made import pod_body
from watcher.simulated import SimulatedWatcher, hurry

ROOT = Path(__file__).parents[2]

READS = ("get", "list", "watch")

USED = {
    # watcher/cluster.py, by kube/informer.py, which lists and watches. `get` is for nothing; whoever may list may as well.
    ("", "pods"): READS,
    ("", "namespaces"): READS,
    ("", "services"): READS,
    ("discovery.k8s.io", "endpointslices"): READS,
    # watcher/policies.py, one object at a time
    ("", "configmaps"): ("list", "watch"),
    # watcher/access_policies.py
    ("kube-gateway.io", "gatewaypolicies"): READS,
    # watcher/policy_status.py
    ("kube-gateway.io", "gatewaypolicies/status"): ("patch",),
    # watcher/acting.py: Actor.start
    ("", "pods/ephemeralcontainers"): ("patch",),
    # watcher/acting.py: Actor.claim
    ("", "pods/status"): ("patch",),
    # watcher/acting.py: Actor.write_secret, whose server-side apply creates and patches, and Actor.remove_secret
    ("", "secrets"): ("create", "delete", "patch"),
    # watcher/acting.py: Actor.tell
    ("events.k8s.io", "events"): ("create",),
}
"""Every verb on what is everywhere, with the code that uses it."""

USED_AT_HOME = {
    # kube/lease.py: LeaderElection._write
    ("coordination.k8s.io", "leases", ""): ("create",),
    # kube/lease.py: LeaderElection._look and _write
    ("coordination.k8s.io", "leases", "kube-gateway-watcher"): ("get", "update"),
    # watcher/identity_store.py: IdentityStore
    ("", "secrets", "watcher"): ("get", "patch"),
    ("", "configmaps", "kube-gateway-revoked"): ("get", "patch"),
    # watcher/summary.py: Publisher, whose server-side apply only patches: the ConfigMap is part of the manifest
    ("", "configmaps", "kube-gateway-status"): ("patch",),
}
"""The same in the watcher's own namespace, by the name of the object."""


@pytest.fixture(scope="module")
def objects():
    return {(found["kind"], found["metadata"]["name"]): found for found in manifests.objects()}


@pytest.fixture(scope="module")
def deployment(objects):
    return objects["Deployment", "kube-gateway-watcher"]


def run(*arguments):
    done = CliRunner().invoke(install, arguments)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_prints_the_file_that_is_applied():
    assert run() == (ROOT / "deploy/watcher.yaml").read_text() == manifests.watcher_manifest()


def test_the_image_is_that_of_this_version(deployment):
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"ghcr.io/kube-gateway/kube-gateway:{metadata.version('kube-gateway')}"


def rules(role):
    found = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames", [""]):
                    found.setdefault((group, resource, name), set()).update(rule["verbs"])
    return {key: tuple(sorted(verbs)) for key, verbs in found.items()}


def test_the_rights_everywhere_are_those_that_the_code_uses(objects):
    role = objects["ClusterRole", "kube-gateway-watcher"]
    assert rules(role) == {(*key, ""): verbs for key, verbs in USED.items()}
    assert not any("*" in values for rule in role["rules"] for values in rule.values())


def test_the_rights_at_home_are_those_that_the_code_uses(objects):
    role = objects["Role", "kube-gateway-watcher"]
    assert role["metadata"]["namespace"] == "kube-gateway"
    assert rules(role) == USED_AT_HOME


async def test_what_is_written_while_a_pod_is_enrolled_and_leaves_is_what_there_are_rights_for(monkeypatch):
    hurry(monkeypatch)
    world = World(0)
    world.api.put("pods", pod_body("a", encrypt="true"))
    world.watchers.append(SimulatedWatcher(world.api))
    await world.settle()
    world.api.change("pods", "shop/a", lambda body: body["metadata"].update(annotations={}))
    await world.settle()
    await world.end()
    written = set()
    for method, path in world.api.writes:
        verb = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}[method]
        rule = json.loads(rule_for(path, verb))
        written.add((rule["apiGroups"][0], rule["resources"][0], verb))
    granted = {(*key, verb) for key, verbs in USED.items() for verb in verbs if verb not in READS}
    # A server-side apply of what is not there needs the right to create, too.
    # Nor does this pod have a policy whose status could be written; test_access_policies.py writes one.
    others = {("", "secrets", "create"), ("kube-gateway.io", "gatewaypolicies/status", "patch")}
    assert written | others == granted


def test_no_secret_is_ever_read_but_the_authoritys_own(objects):
    for kind in ("Role", "ClusterRole"):
        for (_, resource, name), verbs in rules(objects[kind, "kube-gateway-watcher"]).items():
            own = (kind, name) == ("Role", configuration.AUTHORITY_SECRET)
            assert resource != "secrets" or not set(verbs) & ({"list", "watch", "*"} if own else {*READS, "*"})


def test_names_are_those_that_the_code_expects(objects, deployment):
    assert ("Service", configuration.SERVICE) in objects
    assert ("ServiceAccount", configuration.SERVICE_ACCOUNT) in objects
    assert ("Namespace", configuration.NAMESPACE) in objects
    (port,) = objects["Service", configuration.SERVICE]["spec"]["ports"]
    assert port["port"] == configuration.CONTROL_PORT
    pod = deployment["spec"]["template"]
    assert pod["spec"]["serviceAccountName"] == configuration.SERVICE_ACCOUNT
    assert pod["spec"]["volumes"][0]["secret"]["secretName"] == configuration.AUTHORITY_SECRET
    assert objects["Service", configuration.SERVICE]["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert deployment["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    named = {name for _, _, name in rules(objects["Role", "kube-gateway-watcher"])} - {""}
    assert named == {
        configuration.LEASE,
        configuration.AUTHORITY_SECRET,
        summary.CONFIG_MAP,
        identity_store.REVOCATIONS_MAP,
    }
    assert ("ConfigMap", identity_store.REVOCATIONS_MAP) in objects
    assert ("ConfigMap", summary.CONFIG_MAP) in objects


def test_the_watcher_starts_with_what_its_pod_is_told(deployment):
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    told = {one["name"] for one in container["env"]}
    asked = {option.envvar for option in watch.params if option.envvar}
    assert told == asked
    assert container["args"] == ["watch"]
    authority = next(option for option in watch.params if option.name == "authority")
    assert container["volumeMounts"] == [{"name": "authority", "mountPath": str(authority.default), "readOnly": True}]


def test_the_watchers_pod_is_admitted_where_the_strictest_rules_are_enforced(objects, deployment):
    """Pod Security Standards, level restricted, as kubernetes.io has it."""
    labels = objects["Namespace", "kube-gateway"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    pod = deployment["spec"]["template"]["spec"]
    assert not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert all(set(volume) <= {"name", "secret", "configMap", "emptyDir", "projected"} for volume in pod["volumes"])
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert "privileged" not in container["securityContext"]


def test_an_authority_that_comes_later_is_waited_for(deployment):
    pod = deployment["spec"]["template"]["spec"]
    (volume,) = pod["volumes"]
    assert volume["secret"]["optional"] is True
    assert volume["secret"]["defaultMode"] == 0o440
    probe = pod["containers"][0]["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 24 * 3600


def differences(text):
    """What differs from the manifest as it is, by path."""

    def walk(path, one, other):
        if isinstance(one, dict) and isinstance(other, dict):
            for key in sorted(one.keys() | other.keys()):
                yield from walk(f"{path}.{key}", one.get(key), other.get(key))
        elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            for number, (mine, yours) in enumerate(zip(one, other, strict=True)):
                yield from walk(f"{path}[{number}]", mine, yours)
        elif one != other:
            yield path, other

    changed = list(yaml.safe_load_all(text))
    assert len(changed) == len(manifests.objects())
    found = {}
    for one, other in zip(manifests.objects(), changed, strict=True):
        found.update(walk(one["kind"], one, other))
    return found


CONTAINER = "Deployment.spec.template.spec.containers[0]"
OPTIONS = {
    ("--image", "registry/x:2"): {f"{CONTAINER}.image": "registry/x:2"},
    ("--replicas", "3"): {"Deployment.spec.replicas": 3},
    ("--replicas", "1", "--image", "x:y"): {"Deployment.spec.replicas": 1, f"{CONTAINER}.image": "x:y"},
    ("--pull-policy", "Always"): {
        f"{CONTAINER}.imagePullPolicy": "Always",
        f"{CONTAINER}.args": ["watch", "--pull-policy=Always"],
    },
    ("--", "--privileged=when-needed", "--podcidr=10.0.0.0/8"): {
        f"{CONTAINER}.args": ["watch", "--privileged=when-needed", "--podcidr=10.0.0.0/8"]
    },
    ("--pull-policy", "Never", "--", "--debug"): {
        f"{CONTAINER}.imagePullPolicy": "Never",
        f"{CONTAINER}.args": ["watch", "--pull-policy=Never", "--debug"],
    },
}


@pytest.mark.parametrize("arguments", OPTIONS)
def test_options_change_what_they_say_and_nothing_else(arguments):
    assert differences(run(*arguments)) == OPTIONS[arguments]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--", "--privileged=sometimes"),
        ("--", "--such"),
        ("--", "--port=0"),
        ("--replicas", "0"),
        ("--pull-policy", "never"),
        ("--", "--certificate-life=5s"),
        ("--", "surplus"),
    ],
)
def test_a_slip_is_found_before_anything_is_applied(arguments):
    done = CliRunner().invoke(install, arguments)
    assert done.exit_code == 2
    assert "apiVersion" not in done.output


def test_the_manifest_is_part_of_the_package():
    assert manifests.watcher_manifest().startswith("# The watcher of kube-gateway")
    assert (ROOT / "deploy/watcher.yaml").resolve() == (ROOT / "src/kube_gateway/manifests/watcher.yaml").resolve()
