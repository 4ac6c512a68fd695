"""`kube-gateway local policy`: what is said of policies that are put in force on this machine."""

from __future__ import annotations

import pytest

from kube_gateway.cli.main import run

pytestmark = pytest.mark.root

POLICY = """
apiVersion: kube-gateway.io/v1alpha1
kind: GatewayPolicy
metadata: {{name: orders}}
spec:
  selector: {{matchLabels: {labels}}}
  default: deny
"""


def test_whom_a_policy_is_about_is_said_when_it_is_applied(instance, tmp_path, capfd):
    instance.client.run("orders", ["sleep", "infinity"])
    file = tmp_path / "policy.yaml"

    def command(*arguments):
        code = run(["local", "--instance", instance.instance.name, "policy", *arguments])
        return code, *capfd.readouterr()

    file.write_text(POLICY.format(labels="{name: orders}"))
    told = "warning: policy orders selects no pod; without --label a pod has the label app=NAME\n"
    assert command("apply", str(file)) == (0, "", told)
    file.write_text(POLICY.format(labels="{app: orders}"))
    assert command("apply", str(file)) == (0, "", "policy orders is in force: orders\n")
    file.write_text("kind: Pod\n")
    code, _, told = command("apply", str(file))
    assert (code, told.partition(":")[0]) == (2, "error")
    assert "orders  deny" in command("list")[1]
    assert command("remove", "orders") == (0, "", "policy orders is removed\n")
    assert command("remove", "orders")[2].startswith("error: there is no policy 'orders'\n")
