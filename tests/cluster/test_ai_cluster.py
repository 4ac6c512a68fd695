"""The main job of AI control, on a real cluster: running pods' calls go to another model, and pass a ConfigMap's policy."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from product import IMAGE, PREFIX, serving

pytestmark = [pytest.mark.cluster, pytest.mark.root]

PROGRAMS = Path(__file__).parents[1] / "ai" / "local"
PORT = 11434
AI = f"{PREFIX}AI"
CONFIG = "client-kube-gateway"
WORDS = "version: 1\nrules:\n- {name: words, kind: words, lanes: [answer], words: [%s]}\n"

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: {image}
    imagePullPolicy: IfNotPresent
    command: [python3, /programs/{program}]
    args: {arguments}
    volumeMounts: [{{name: programs, mountPath: /programs}}]
  volumes: [{{name: programs, configMap: {{name: programs}}}}]
---
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: ollama}
spec: {selector: {app: ollama}, ports: [{port: 11434}]}
---
"""


def pod(name, program, *arguments):
    return POD.format(name=name, image=IMAGE, program=program, arguments=json.dumps([str(one) for one in arguments]))


@pytest.fixture
def pods(cluster, product, namespace):
    """A model's server behind a Service, and a client that asks it all the time over one connection."""
    files = [f"--from-file={PROGRAMS / name}" for name in ("ollama_program.py", "chat_program.py")]
    cluster.kubectl("create", "configmap", "programs", "-n", namespace, *files)
    server = pod("ollama", "ollama_program.py", PORT)
    cluster.apply(SERVICE + server, namespace)
    cluster.wait("pod/ollama", "Ready", namespace=namespace)
    # A client that begins before the node's rules know the server would hang. By its full name: the pod's own, ollama, is
    # in its /etc/hosts.
    connect = f"import socket; socket.create_connection(('ollama.{namespace}', {PORT}), 3); print('connected')"
    cluster.eventually(
        "the Service answers",
        lambda: cluster.exec("ollama", "python3", "-c", connect, container="app", namespace=namespace),
    )
    cluster.apply(pod("client", "chat_program.py", "ollama", PORT, "a secret here"), namespace)
    cluster.wait("pod/client", "Ready", namespace=namespace)
    yield namespace
    cluster.kubectl("delete", "pod,service,configmap", "--all", "-n", namespace, "--grace-period=1")


def policy(cluster, namespace, text, *, name=CONFIG):
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"config": text}}
    cluster.apply(json.dumps(body), namespace)
    return time.monotonic()


def last(cluster, name, namespace):
    """The last line of JSON that a program has printed."""
    lines = [line for line in cluster.logs(name, container="app", namespace=namespace).splitlines() if line[:1] == "{"]
    return json.loads(lines[-1]) if lines else {}


def text_is(cluster, namespace, text):
    cluster.eventually(f"the answer is {text!r}", lambda: last(cluster, "client", namespace).get("text") == text)


def ai_condition(cluster, namespace, name="client"):
    conditions = cluster.get("pod", name, namespace)["status"].get("conditions", [])
    return next((found for found in conditions if found["type"] == AI), {})


def with_ai(cluster, product, namespace, **annotations):
    product.annotate("client", namespace, ai="true", **annotations)
    cluster.wait("pod/client", AI, namespace=namespace)
    # The connection that the client has is older than the gateway: the server ends it, and the next one is the gateway's.
    cluster.kubectl("delete", "pod", "ollama", "-n", namespace, "--grace-period=1")
    cluster.apply(pod("ollama", "ollama_program.py", PORT), namespace)
    cluster.wait("pod/ollama", "Ready", namespace=namespace)
    cluster.eventually("it asks again", lambda: last(cluster, "ollama", namespace).get("model"))


def test_ai_another_model_and_a_policy_for_a_running_pod(cluster, product, pods, measured):
    with_ai(cluster, product, pods)
    process = cluster.pod_pid("client", "app", pods)
    assert last(cluster, "ollama", pods)["model"] == "llama3"
    connection = last(cluster, "ollama", pods)["connection"]

    annotated = time.monotonic()
    product.annotate("client", pods, ai_model="gemma2:2b")
    cluster.eventually("the other model", lambda: last(cluster, "ollama", pods)["model"] == "gemma2:2b", every=0.05)
    measured(f"from ai-model to the first request for it {time.monotonic() - annotated:.1f} s")

    text_is(cluster, pods, "a secret here")
    written = policy(cluster, pods, WORDS % "secret")
    text_is(cluster, pods, "a *** here")
    measured(f"from the ConfigMap to the first answer under it {time.monotonic() - written:.1f} s")

    policy(cluster, pods, (WORDS % "here").replace("kind: words", "kind: wrods"))
    cluster.eventually("it is told", lambda: ai_condition(cluster, pods).get("reason") == "InvalidPolicy")
    (note,) = [note for reason, note in product.events("client", pods) if reason == "InvalidPolicy"]
    assert "rules[0].kind" in note
    text_is(cluster, pods, "a *** here")

    policy(cluster, pods, WORDS % "here")
    text_is(cluster, pods, "a secret ***")
    cluster.kubectl("delete", "configmap", CONFIG, "-n", pods)
    text_is(cluster, pods, "a secret here")
    assert last(cluster, "ollama", pods)["connection"] == connection
    assert cluster.pod_pid("client", "app", pods) == process
    (name,) = serving(cluster.get("pod", "client", pods))
    log = cluster.kubectl("logs", "client", "-c", name, "-n", pods)
    assert "all go to the model gemma2:2b" in log
    assert '"requested_model":"llama3","model":"gemma2:2b"' in log


def test_ai_a_pod_without_encryption_is_told_apart(cluster, product, pods):
    product.annotate("client", pods, ai="true", ai_config="rules")
    policy(cluster, pods, WORDS % "secret", name="rules")
    cluster.wait("pod/client", AI, namespace=pods)
    assert product.condition("client", pods)["reason"] == "EncryptionOff"
    assert "for LLM calls alone" in product.condition("client", pods)["message"]
    shown = json.loads(product.run("status", "-n", pods, "--output", "json").stdout)["pods"]
    assert [(one["name"], one["state"], one["reason"]) for one in shown] == [("client", "ai", "")]
    cluster.eventually("the policy of that name", lambda: "ConfigMap rules" in ai_condition(cluster, pods)["message"])
    assert product.run("check").returncode == 0


def test_ai_figures_are_shown(cluster, product, pods):
    with_ai(cluster, product, pods, metrics_port="9464")

    def counted():
        done = product.run("ai", "stats", "client", "-n", pods, "--output", "json", check=False)
        found = json.loads(done.stdout) if done.returncode == 0 else []
        return found and found[0]["ai"]["models"] and found[0]["ai"]["models"][0]["calls"] > 0

    cluster.eventually("the summary has them", counted, timeout=60)
    address = cluster.get("pod", "client", pods)["status"]["podIP"]
    read = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"
    page = cluster.exec(
        "ollama", "python3", "-c", read, f"http://{address}:9464/metrics", container="app", namespace=pods
    )
    assert "gen_ai_client_token_usage_count" in page
