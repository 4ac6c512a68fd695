"""The test cluster is a real one: what other tests rely on works in it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cluster import NODE, Cluster, ClusterError

pytestmark = [pytest.mark.cluster, pytest.mark.root]

PODS = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: server
    image: localhost/busybox:1
    imagePullPolicy: Never
    command: [sh, -c, "mkdir /pages; echo hello > /pages/index.html; echo started; exec httpd -f -v -p 80 -h /pages"]
    readinessProbe: {tcpSocket: {port: 80}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: client, image: localhost/busybox:1, imagePullPolicy: Never, command: [sleep, "100000"]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ipFamilyPolicy: PreferDualStack, ports: [{port: 8080, targetPort: 80}]}
---
apiVersion: v1
kind: Secret
metadata: {name: word}
stringData: {word: open sesame}
"""


@pytest.fixture(scope="module")
def pods(cluster, namespace):
    cluster.apply(PODS, namespace)
    for pod in ("web", "client"):
        cluster.wait(f"pod/{pod}", "Ready", namespace=namespace)
    return namespace


def fetch(cluster, namespace, host, *, pod="client"):
    """What `pod` gets from the Service at `host`, once the node's rules know it.

    A connection that was begun before they did may stay without an answer for minutes, so each try has an end. (Not by
    wget's -T, with which Debian's busybox crashes.)
    """
    url = f"http://[{host}]:8080/" if ":" in host else f"http://{host}:8080/"
    command = ("timeout", "3", "wget", "-q", "-O-", url)
    return cluster.eventually(
        f"{pod} fetches {url}", lambda: cluster.exec(pod, *command, namespace=namespace), timeout=20
    )


def test_the_node_is_ready(cluster):
    conditions = cluster.get("node", "node1")["status"]["conditions"]
    assert {c["type"]: c["status"] for c in conditions}["Ready"] == "True"


def test_a_second_up_says_that_it_runs(cluster):
    done = subprocess.run([NODE, "up", cluster.directory], capture_output=True, text=True, check=True)
    assert done.stdout == f"the cluster in {cluster.directory} is running\n"


def test_down_leaves_a_directory_alone_that_is_no_clusters(tmp_path):
    (tmp_path / "mine").touch()
    done = subprocess.run([NODE, "down", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, f"error: {tmp_path} is not a cluster's directory")
    assert (tmp_path / "mine").exists()


def test_logs_come_through_the_kubelet(cluster, pods):
    assert cluster.logs("web", namespace=pods).startswith("started\n")


def test_a_service_is_reached_by_each_of_its_addresses(cluster, pods):
    addresses = cluster.get("service", "web", pods)["spec"]["clusterIPs"]
    assert len(addresses) == (2 if cluster.ipv6 else 1)
    for address in addresses:
        assert fetch(cluster, pods, address) == "hello\n"


def test_a_pod_reaches_itself_through_its_service(cluster, pods):
    assert fetch(cluster, pods, f"web.{pods}", pod="web") == "hello\n"  # "web" alone is in its /etc/hosts


def test_a_service_is_reached_by_name(cluster, pods):
    assert fetch(cluster, pods, "web") == "hello\n"
    assert fetch(cluster, pods, f"web.{pods}.svc.cluster.local") == "hello\n"


def test_a_pod_sees_who_calls_it(cluster, pods):
    fetch(cluster, pods, "web")
    caller = cluster.get("pod", "client", pods)["status"]["podIPs"]
    log = cluster.logs("web", namespace=pods)
    assert any(address["ip"] in log for address in caller), log


def test_an_ephemeral_container_shares_its_targets_processes_and_has_a_secret(cluster, pods):
    container = {
        "name": "visitor",
        "image": "localhost/busybox:1",
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", "echo $WORD; ps -o args; exec sleep 100000"],
        "targetContainerName": "server",
        "env": [{"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "word", "key": "word"}}}],
    }
    cluster.add_ephemeral_container("web", container, namespace=pods)

    def what_it_sees():
        log = cluster.logs("web", "visitor", namespace=pods)
        return log if "httpd -f" in log else None

    log = cluster.eventually("the visitor sees the server's process", what_it_sees, timeout=20)
    assert log.startswith("open sesame\n")
    visitor = cluster.eventually("it runs", lambda: cluster.pod_pid("web", "visitor", pods))
    assert visitor != cluster.pod_pid("web", "server", pods)


# As a program in a pod calls the API: by the address it is given, with the authority that lies beside its token.
CALL = """
import ssl, sys, urllib.request
context = ssl.create_default_context(cadata=sys.argv[1])
context.verify_flags |= ssl.VERIFY_X509_STRICT
request = urllib.request.Request("https://10.96.0.1/api", headers={"Authorization": "Bearer " + sys.argv[2]})
print(urllib.request.urlopen(request, context=context, timeout=10).status)
"""


def test_a_pod_can_verify_the_api_server(cluster, pods):
    account = "/var/run/secrets/kubernetes.io/serviceaccount"
    given = [cluster.exec("client", "cat", f"{account}/{file}", namespace=pods) for file in ("ca.crt", "token")]
    pid = cluster.pod_pid("client", namespace=pods)
    enter = ["nsenter", "-t", str(pid), "-n", sys.executable, "-c", CALL]
    assert subprocess.run([*enter, *given], capture_output=True, text=True, check=True).stdout == "200\n"


def test_an_annotation_is_set_and_removed(cluster, pods):
    cluster.annotate("client", pods, **{"example.org/colour": "green"})
    assert cluster.get("pod", "client", pods)["metadata"]["annotations"]["example.org/colour"] == "green"
    cluster.annotate("client", pods, **{"example.org/colour": None})
    assert "example.org/colour" not in cluster.get("pod", "client", pods)["metadata"].get("annotations", {})


def test_a_restricted_namespace_refuses_a_privileged_pod(cluster, namespace):
    own = f"{namespace}-restricted"
    cluster.kubectl("create", "namespace", own)
    try:
        cluster.kubectl("label", "namespace", own, "pod-security.kubernetes.io/enforce=restricted")
        with pytest.raises(ClusterError, match="violates PodSecurity"):
            cluster.apply(PODS, own)
    finally:
        cluster.kubectl("delete", "namespace", own, "--wait=false")


def test_pods_run_on_while_the_api_server_is_away(cluster, pods):
    pid = cluster.pod_pid("web", "server", pods)
    address = cluster.get("service", "web", pods)["spec"]["clusterIP"]
    client = cluster.pod_pid("client", namespace=pods)
    # What the node's rules do not know by then they cannot learn.
    fetch(cluster, pods, "web")

    def answer(host):
        wget = ("/bin/timeout", "3", "/bin/wget", "-q", "-O-", f"http://{host}:8080/")
        enter = ["nsenter", "-t", str(client), "-n", "-m", *wget]
        done = subprocess.run(enter, capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else ""

    with cluster.without_api():
        with pytest.raises(ClusterError, match="refused"):
            cluster.kubectl("get", "pods")
        # Names and Services too: they are the node's.
        for host in (address, f"web.{pods}.svc.cluster.local"):
            said = cluster.eventually(f"{host} answers", lambda host=host: answer(host), timeout=20)
            assert said == "hello\n"
    assert cluster.pod_pid("web", "server", pods) == pid
    assert fetch(cluster, pods, "web") == "hello\n"


def test_waiting_says_what_for():
    with pytest.raises(AssertionError, match="pods that fly: not so after 0 s; at last: 0"):
        Cluster("/nonexistent").eventually("pods that fly", lambda: 0, timeout=0)
