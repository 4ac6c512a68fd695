"""What is shown of LLM calls on this machine: the command for policies, figures, and the list of pods."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ai.local.scenes import RULES, Scene, words

pytestmark = pytest.mark.root

KUBE_GATEWAY = (sys.executable, "-m", "kube_gateway")
READ = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"


@pytest.fixture
def scene(instance):
    scene = Scene(instance, ai="true", metrics_port="9464")
    yield scene
    scene.close()


@pytest.fixture
def local(scene):
    def run(*arguments, text=None):
        line = [*KUBE_GATEWAY, "local", "--instance", scene.pods.instance.name, *arguments]
        return subprocess.run(line, input=text, capture_output=True, text=True, timeout=60, check=False, cwd="/")

    return run


def test_a_policy_is_set_shown_and_removed(scene, local, tmp_path):
    assert local("config", "client").stderr.startswith("error: client has no policy\nhint: ")
    file = tmp_path / "policy.yaml"
    file.write_text(words("secret"))
    done = local("config", "client", str(file))
    assert (done.returncode, done.stdout) == (0, "")
    assert "applies to LLM calls" in done.stderr
    chat = scene.chat()
    assert chat.ask("a secret here")["text"] == "a *** here"
    assert local("config", "client").stdout == words("secret")
    assert local("config", "client", "-", text=words("here")).returncode == 0
    assert chat.ask("a secret here")["text"] == "a secret ***"
    assert local("config", "client", "--remove").returncode == 0
    assert chat.ask("a secret here")["text"] == "a secret here"


def test_one_that_is_not_right_is_refused_and_not_written(scene, local):
    scene.use(words("secret"))
    done = local("config", "client", "-", text=words("here").replace("kind: words", "kind: wrods"))
    assert done.returncode == 2
    assert "rules[0].kind" in done.stderr
    regex = f"{RULES}- {{name: x, kind: regex, lanes: [answer], patterns: ['(']}}\n"
    done = local("config", "client", "-", text=regex)
    assert done.returncode == 2
    assert "rules[0].patterns[0]" in done.stderr
    assert scene.policy.read_text() == words("secret")
    assert local("config", "client", "-", "--remove", text="").returncode == 2
    assert local("config", "nobody").returncode == 1
    assert local("config", "client", "/no/such/file").returncode == 2


def test_a_policy_may_be_there_before_ai_control(instance):
    scene = Scene(instance)
    scene.pods.client.configure("client", words("secret"))
    scene.pods.annotate("client", ai="true")
    assert scene.chat().ask("a secret here")["text"] == "a *** here"
    scene.close()


def test_pods_may_share_a_policy_by_its_name(scene):
    scene.policy.parent.mkdir(exist_ok=True)
    (scene.policy.parent / "rules").write_text(words("secret"))
    scene.pods.annotate("client", ai_config="rules")
    assert scene.chat().ask("a secret here")["text"] == "a *** here"


def test_figures_are_served_for_prometheus(scene):
    scene.use(words("secret"))
    scene.chat().ask("a secret here")
    scene.wait_ai(lambda ai: ai.models)
    page = scene.pods.exec(
        "ollama", sys.executable, "-c", READ, f"http://{scene.pods.address('client')}:9464/metrics"
    ).stdout
    assert 'gen_ai_provider_name="ollama",gen_ai_request_model="llama3"' in page
    assert 'kube_gateway_ai_rule_hits_total{rule="words",mode="enforce"} 1' in page
    assert "kube_gateway_ai_overhead_seconds_count 1" in page
    # A worker that is started again has the port, too.
    scene.pods.kill_gateway("client", "worker")
    scene.chat().ask("a secret here")
    again = scene.pods.exec(
        "ollama", sys.executable, "-c", READ, f"http://{scene.pods.address('client')}:9464/metrics"
    ).stdout
    assert "kube_gateway_ai_policy_info" in again


def test_stats_show_calls_tokens_and_rules(scene):
    scene.use(words("secret"))
    scene.chat().ask("a secret here")
    scene.wait_ai(lambda ai: ai.models)
    line = [*KUBE_GATEWAY, "ai", "stats", "--local", scene.pods.instance.name, "client", "--output", "json"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True, cwd="/")
    (found,) = json.loads(done.stdout)
    assert found["pod"] == "default/client"
    (model,) = found["ai"]["models"]
    assert (model["model"], model["calls"], model["input"], model["output"]) == ("llama3", 1, 7, 3)
    assert found["ai"]["hits"] == {"words": 1}
    shown = subprocess.run(line[:-2], capture_output=True, text=True, timeout=60, check=True, cwd="/").stdout
    assert "llama3  1" in shown
    unknown = subprocess.run([*line[:-3], "nobody"], capture_output=True, text=True, timeout=60, check=False, cwd="/")
    assert unknown.returncode == 1
    assert "nothing is known of LLM calls of nobody" in unknown.stderr


def test_the_list_of_pods_names_the_policy(scene, local):
    scene.use(words("secret"))
    rows = local("pods").stdout.splitlines()
    assert rows[0].split()[4:7] == ["GATEWAY", "ENCRYPT", "AI"]
    assert [row.split()[5:7] for row in rows[1:] if row.startswith("client")] == [["none", scene.ai().policy]]
    assert [row.split()[5:7] for row in rows[1:] if row.startswith("ollama")] == [["off", "-"]]
