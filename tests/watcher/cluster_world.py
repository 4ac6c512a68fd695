"""A cluster in small: an API server, kubelets, gateways and watchers, all but the last simulated; and what must hold there.

The watchers are the product's own Cluster, Reconciler, Actor, WorkQueue and Informer, with short pauses.
"""

from __future__ import annotations

import asyncio
import json
import random
import time

from kube_gateway.control import messages
from kube_gateway.errors import InvalidAnnotation
from kube_gateway.model.settings import settings_from_annotations
from kube_gateway.watcher.attach import secret_name
from watcher.api import Api
from watcher.made import IMAGE, TYPE, ended, pod_body, running, waiting
from watcher.simulated import Gateway, SimulatedWatcher


class World:
    """Everything, and the random steps that change it."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.api = Api(self._check_added)
        self.gateways = {}
        self.gateways_refuse = None
        self.watchers = []
        self.wrong = []
        self.lost_secrets = set()
        self.image = IMAGE
        self.api.put("namespaces", {"metadata": {"name": "shop", "labels": {}, "annotations": {}}})
        self.names = ("a", "b", "c")

    def _check_added(self, pod, container):
        """Never a second gateway for one need, and no gap in their numbers."""
        there = pod["spec"]["ephemeralContainers"]
        number = len([one for one in there if one["name"].startswith("kube-gateway")]) + 1
        wanted = "kube-gateway" if number == 1 else f"kube-gateway-{number}"
        if container["name"] != wanted:
            self.wrong.append(f"{container['name']} was added, {wanted} was next")
        states = {one["name"]: one["state"] for one in pod["status"].get("ephemeralContainerStatuses", ())}
        for one in there:
            if "terminated" not in states.get(one["name"], {}) and one["image"] == container["image"]:
                self.wrong.append(
                    f"{container['name']} was added to {pod['metadata']['name']} while {one['name']} lives"
                )

    # Steps.

    def step(self):
        kinds = [name for name in dir(self) if name.startswith("_step_")]
        weights = [20 if name == "_step_kubelet" else 8 if name == "_step_annotate" else 2 for name in kinds]
        getattr(self, self.random.choices(kinds, weights)[0])()

    def _pod(self):
        keys = sorted(self.api.objects["pods"])
        return self.random.choice(keys) if keys else None

    def _step_create(self):
        name = self.random.choice(self.names)
        if f"shop/{name}" not in self.api.objects["pods"]:
            number = self.names.index(name) + 2
            body = pod_body(name, address=f"10.0.0.{number}", **self.random.choice(ANNOTATIONS))
            if self.random.random() < 0.1:
                body["spec"]["hostNetwork"] = True
            if self.random.random() < 0.3:
                body["status"] = {"phase": "Pending"}
            self.api.put("pods", body)

    def _step_delete(self):
        key = self._pod()
        if key and self.random.random() < 0.4:
            self.api.remove("pods", key)

    def _step_replace(self):
        key = self._pod()
        if key:
            self.api.remove("pods", key)
            name = key.partition("/")[2]
            self.api.put("pods", pod_body(name, address=f"10.0.0.{self.names.index(name) + 2}", encrypt="true"))

    def _step_annotate(self):
        key = self._pod()
        if key:
            annotations = pod_body(**self.random.choice(ANNOTATIONS))["metadata"]["annotations"]
            self.api.change("pods", key, lambda body: body["metadata"].update(annotations=annotations))

    def _step_namespace(self):
        level = self.random.choice(("privileged", "privileged", "baseline"))
        given = self.random.choice(({}, {}, {"kube-gateway.io/encrypt": "true"}))
        self.api.change(
            "namespaces",
            "shop",
            lambda body: body["metadata"].update(
                labels={"pod-security.kubernetes.io/enforce": level}, annotations=given
            ),
        )

    def _step_kubelet(self):
        key = self._pod()
        if key:
            self.advance(key)

    def _step_die(self):
        key = self._pod()
        if key:
            self._end_one(key, self.random.choice((1, 137, 0)))

    def _step_lose_secret(self):
        key = self._pod()
        if key:
            self.api.objects["secrets"].pop(f"shop/{secret_name(key.partition('/')[2])}", None)
            self.lost_secrets.add(self.api.objects["pods"][key]["metadata"]["uid"])

    def _step_complete(self):
        key = self._pod()
        if key and self.random.random() < 0.2:
            self.api.change("pods", key, lambda body: body["status"].update(phase="Succeeded"))

    def _step_faults(self):
        self.api.faults += self.random.choices((None, "lost", "timeout", 500, 409, 429, 503), k=4)

    def _step_unreachable(self):
        self.api.reading_fails = not self.api.reading_fails
        self.api.cut()

    def _step_cut(self):
        self.api.cut()

    def _step_forget(self):
        self.api.compact()

    def _step_lines(self):
        for gateway in self.gateways.values():
            gateway.lose()

    def _step_restart(self):
        self._replace_watchers(1)

    def _step_two(self):
        self._replace_watchers(2)

    def _step_image(self):
        if self.random.random() < 0.3:
            self.image = self.random.choice((IMAGE, "registry/kube-gateway:2"))
            self._replace_watchers(1)

    def _replace_watchers(self, wanted):
        """Ends are asynchronous: what was being asked is cut off in the middle."""
        leaving, self.watchers = self.watchers, []
        for gateway in self.gateways.values():
            gateway.lose()
        for watcher in leaving:
            watcher.check()
            watcher._task.cancel()
        self.watchers = [SimulatedWatcher(self.api, image=self.image, instance=f"w{n}") for n in range(wanted)]

    # Kubelet and gateways.

    def advance(self, key):
        """One thing that happens in a pod; whether anything did."""
        body = self.api.objects["pods"][key]
        if body["status"]["phase"] == "Pending":
            number = self.names.index(key.partition("/")[2]) + 2
            self.api.change(
                "pods", key, lambda pod: pod["status"].update(phase="Running", podIPs=[{"ip": f"10.0.0.{number}"}])
            )
            return True
        if body["status"]["phase"] != "Running":
            return False
        states = {one["name"]: one["state"] for one in body["status"].get("ephemeralContainerStatuses") or ()}
        uid = body["metadata"]["uid"]
        for number, container in enumerate(body["spec"].get("ephemeralContainers", ()), 1):
            state = states.get(container["name"])
            gateway = self.gateways.get((uid, number))
            if state is None or "waiting" in state:
                return self._begin(key, uid, number, container, state)
            if "running" in state and gateway.draining:
                self._set(key, container["name"], ended(0, at_time=time.time()))
                self._gone(uid, number)
                return True
            if "running" in state and gateway.watcher is None and self.watchers:
                gateway.connect(self.watchers[0])
                if gateway.watcher is not None:
                    for (other, older), one in self.gateways.items():
                        if other == uid and older < number:
                            one.draining = True  # the newer one has taken over
                    return True
        return False

    def _begin(self, key, uid, number, container, state):
        if state is None:
            self._set(key, container["name"], waiting())
            return True
        if f"shop/{secret_name(key.partition('/')[2])}" not in self.api.objects["secrets"]:
            lacking = waiting("CreateContainerConfigError", "secret not found")
            self._set(key, container["name"], lacking)
            return state != lacking
        told = {one["name"]: one.get("value") for one in container["env"]}
        assert told["KUBE_GATEWAY_UID"] == uid and told["KUBE_GATEWAY_GENERATION"] == str(number)
        settings = messages.decode_from_watcher(told["KUBE_GATEWAY_SETTINGS"].encode()).settings
        if not settings.wanted:
            self._set(key, container["name"], ended(0, at_time=time.time()))
            return True
        self._set(key, container["name"], running(time.time()))
        self.gateways[uid, number] = Gateway(self, key, uid, number, settings)
        return True

    def _end_one(self, key, code):
        body = self.api.objects["pods"][key]
        for number, container in enumerate(body["spec"].get("ephemeralContainers", ()), 1):
            if (body["metadata"]["uid"], number) in self.gateways:
                self._set(
                    key, container["name"], ended(code, at_time=time.time(), message="error: it fell\nhint: lift it")
                )
                self._gone(body["metadata"]["uid"], number)

    def _gone(self, uid, number):
        self.gateways.pop((uid, number)).lose()

    def _set(self, key, name, state):
        def change(body):
            statuses = body["status"].setdefault("ephemeralContainerStatuses", [])
            statuses[:] = [one for one in statuses if one["name"] != name] + [{"name": name, "state": state}]

        self.api.change("pods", key, change)

    # The end.

    async def settle(self):
        """Everything works again; wait until nothing happens any more. Raises `TimeoutError` if that never comes."""
        self.api.faults, self.api.reading_fails = [], False
        self.api.change(
            "namespaces",
            "shop",
            lambda body: body["metadata"].update(labels={"pod-security.kubernetes.io/enforce": "privileged"}),
        )
        if not self.watchers or self.random.random() < 0.3:
            self._replace_watchers(1)
        for watcher in self.watchers[1:]:
            await watcher.end()
        del self.watchers[1:]
        async with asyncio.timeout(10):
            quiet = 0
            while quiet < 8:
                written = len(self.api.writes)
                self.api.collect_garbage()
                moved = [key for key in list(self.api.objects["pods"]) if self.advance(key)]
                await asyncio.sleep(0.02)
                quiet = 0 if moved or len(self.api.writes) > written else quiet + 1
        for watcher in self.watchers:
            watcher.check()

    async def end(self):
        for watcher in self.watchers:
            await watcher.end()

    def check(self):
        """Every pod has what it asks for, and nothing else is there."""
        assert self.wrong == []
        for body in self.api.objects["pods"].values():
            self._check_pod(body)
        pods = {pod["metadata"]["uid"] for pod in self.api.objects["pods"].values()}
        for secret in self.api.objects["secrets"].values():
            (owner,) = secret["metadata"]["ownerReferences"]
            assert owner["uid"] in pods, f"{secret['metadata']['name']} is nobody's"

    def _check_pod(self, body):
        name, uid = body["metadata"]["name"], body["metadata"]["uid"]
        alive = [number for other, number in self.gateways if other == uid]
        condition = next((one for one in body["status"].get("conditions", ()) if one["type"] == TYPE), None)
        if body["status"]["phase"] != "Running":
            return
        asked = {**self.api.objects["namespaces"]["shop"]["metadata"]["annotations"], **body["metadata"]["annotations"]}
        try:
            settings = settings_from_annotations(asked)
        except InvalidAnnotation as problem:
            assert condition["reason"] == "ProblemInvalidAnnotation"
            assert condition["message"].startswith(problem.message)
            assert len(alive) <= 1
            return
        has_secret = f"shop/{secret_name(name)}" in self.api.objects["secrets"]
        if not settings.wanted:
            assert alive == [], f"{name} is not wanted"
            assert not has_secret
            assert condition is None or (condition["status"], condition["reason"]) == ("False", "NotEnrolled")
        elif body["spec"].get("hostNetwork"):
            assert alive == []
            assert condition["reason"] == "ProblemHostNetwork"
        else:
            newest = len(body["spec"]["ephemeralContainers"])
            assert alive == [newest], f"{name}: {alive} of {newest}"
            assert body["spec"]["ephemeralContainers"][-1]["image"] == self.image
            assert self.gateways[uid, newest].settings == settings
            assert has_secret or uid in self.lost_secrets
            wanted = ("True", "Encrypting") if settings.encrypting else ("False", "EncryptionOff")
            assert (condition["status"], condition["reason"]) == wanted


ANNOTATIONS = (
    {},
    {"encrypt": "true"},
    {"encrypt": "true"},
    {"encrypt": "strict"},
    {"encrypt": "false"},
    {"encrypt": "oops"},
    {"encrypt": "true", "enabled": "false"},
    {"encrypt": "true", "exclude_ports": "22"},
)


def story(world):
    """What happened, for a test that failed."""
    return json.dumps({"pods": world.api.objects["pods"], "writes": world.api.writes[-40:]}, indent=1)
