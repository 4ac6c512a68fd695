"""The demo of AI control on a real cluster: its own manifest, with a real Ollama and OpenAI's library.

Images of both are not to be had here: the server and the library are those that the other tests use, from this machine's
disk, in our own image. All else is as `kubectl apply -k demo/ai` has it.
"""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path

import pytest
import yaml
from product import IMAGE, PREFIX, ROOT, serving

from ai.servers.ollama import PORT, Ollama

pytestmark = [pytest.mark.cluster, pytest.mark.root]

DEMO = ROOT / "demo" / "ai"
BINARY = ROOT / ".cache" / "ollama" / "bin"
LIBRARIES = ("libstdc++.so.6", "libgcc_s.so.1")
SMALL, LARGE = "This is the small model.", "Now the larger model speaks."
ASK = """
import json, urllib.request
question = {"model": "tiny:1b", "messages": [{"role": "user", "content": "Which model are you?"}]}
request = urllib.request.Request("http://127.0.0.1:8080/chat", json.dumps(question).encode())
lines = [json.loads(line) for line in urllib.request.urlopen(request, timeout=20)]
print(json.dumps({"text": "".join(line.get("text", "") for line in lines), **lines[-1]}))
"""


def on_disk(pod, **paths):
    """Let the pod's container be of our image, with folders of this machine by name below its root."""
    (container,) = pod["containers"]
    container.update(image=IMAGE, imagePullPolicy="IfNotPresent", securityContext={"runAsUser": 0})
    for name, path in paths.items():
        pod.setdefault("volumes", []).append({"name": name, "hostPath": {"path": str(path)}})
        container.setdefault("volumeMounts", []).append({"name": name, "mountPath": f"/{name}"})
    return container


def ollama_from_disk(pod, models):
    container = on_disk(pod, ollama=models, binary=BINARY)
    for library in LIBRARIES:
        name = library.partition(".")[0].replace("+", "p").replace("_", "-")
        found = Path("/usr/lib/x86_64-linux-gnu") / library
        pod["volumes"].append({"name": name, "hostPath": {"path": str(found.resolve()), "type": "File"}})
        container["volumeMounts"].append({"name": name, "mountPath": f"/libraries/{library}"})
    container.pop("lifecycle")
    container["command"] = ["/binary/ollama", "serve"]
    container["env"] += [
        {"name": "HOME", "value": "/ollama"},
        {"name": "OLLAMA_MODELS", "value": "/ollama/models"},
        {"name": "OLLAMA_MAX_LOADED_MODELS", "value": "2"},
        {"name": "LD_LIBRARY_PATH", "value": "/libraries"},
    ]
    container["readinessProbe"] = {"httpGet": {"path": "/api/version", "port": PORT}, "periodSeconds": 1}


def python_client_from_disk(pod):
    packages = Path(importlib.util.find_spec("openai").origin).parents[1]
    container = on_disk(pod, packages=packages)
    container["command"] = ["python3", "/client/client.py", "--model=tiny:1b"]
    container["env"] = [{"name": "PYTHONPATH", "value": "/packages"}]


@pytest.fixture
def demo(cluster, product, namespace, tmp_path):
    """Ollama, the page and the program, as the demo has them."""
    ollama = Ollama(tmp_path)
    try:
        ollama.start()
    finally:
        ollama.stop()
    parts = list(yaml.safe_load_all(cluster.kubectl("kustomize", str(DEMO))))
    for part in parts:
        match part["kind"], part["metadata"]["name"]:
            case "Deployment", "ollama":
                ollama_from_disk(part["spec"]["template"]["spec"], tmp_path)
            case "Pod", "aipod-py":
                python_client_from_disk(part["spec"])
    cluster.apply(yaml.safe_dump_all(parts), namespace)
    cluster.kubectl("rollout", "status", "deployment/ollama", "-n", namespace, "--timeout=90s")
    for pod in ("aipod", "aipod-py"):
        cluster.wait(f"pod/{pod}", "Ready", namespace=namespace)
    yield namespace
    cluster.kubectl("delete", "-k", str(DEMO), "-n", namespace, "--ignore-not-found", "--grace-period=1")


class Seen:
    """What both applications are answered."""

    def __init__(self, cluster, namespace):
        self._cluster, self._namespace = cluster, namespace

    def page(self):
        return json.loads(self._cluster.exec("aipod", "python3", "-c", ASK, container="app", namespace=self._namespace))

    def program(self):
        """The last answer in the program's log, or what was raised."""
        asked = self._cluster.logs("aipod-py", container="app", namespace=self._namespace).split("> Which model")
        return asked[-2] if len(asked) > 2 else ""

    def both(self, text):
        self._cluster.eventually(f"the page says {text!r}", lambda: text in self.page()["text"])
        self._cluster.eventually(f"the program says {text!r}", lambda: text in self.program())


def test_ai_walkthrough_with_a_real_server(cluster, product, demo, measured):
    seen, pods = Seen(cluster, demo), ("aipod", "aipod-py")
    seen.both(SMALL)
    processes = [cluster.pod_pid(pod, "app", demo) for pod in pods]

    for pod in pods:
        product.annotate(pod, demo, ai="true")
    for pod in pods:
        cluster.wait(f"pod/{pod}", f"{PREFIX}AI", namespace=demo)
    seen.both(SMALL)

    annotated = time.monotonic()
    for pod in pods:
        product.annotate(pod, demo, ai_model="gemma2:2b")
    cluster.eventually("the page says it", lambda: LARGE in seen.page()["text"])
    measured(f"from ai-model to an answer of that model {time.monotonic() - annotated:.1f} s")
    seen.both(LARGE)
    # Under the name that was asked for: some clients refuse another.
    assert seen.page()["model"] == "tiny:1b"
    (gateway,) = serving(cluster.get("pod", "aipod", demo))
    log = cluster.kubectl("logs", "aipod", "-c", gateway, "-n", demo)
    assert '"requested_model":"tiny:1b","model":"gemma2:2b"' in log

    seen.both("I know the word banana too.")
    for pod in pods:
        file = f"--from-file=config={DEMO / 'policies' / 'banned-word.json'}"
        cluster.kubectl("create", "configmap", f"{pod}-kube-gateway", file, "-n", demo)
    seen.both("I know the word *** too.")

    block = json.dumps({"data": {"config": (DEMO / "policies" / "block.json").read_text()}})
    for pod in pods:
        cluster.kubectl("patch", "configmap", f"{pod}-kube-gateway", "-n", demo, "-p", block)
    seen.both("kube-gateway says no")
    assert [cluster.pod_pid(pod, "app", demo) for pod in pods] == processes
