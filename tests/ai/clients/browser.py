"""A real browser that runs in a pod's network and shows the demo's chat page."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from ai.clients.network import inside
from ai.servers import ollama
from ai.servers.process import ServerProcess
from ai.servers.world import World

PORT = 8080
_SERVER = Path(__file__).resolve().parents[3] / "demo" / "ai" / "chat" / "server.py"
_WITHIN = 20


class ChatPage:
    """The page, open while entered. The server is the pod's application; the browser is only in its network."""

    def __init__(self, world: World, directory: Path, *, pod: str = "client", dark: bool = False) -> None:
        self._world = world
        self._pod = pod
        self._directory = directory
        self._dark = dark
        self.server = ServerProcess(world.place(pod), directory / "chat.log")

    def __enter__(self) -> ChatPage:
        self._open = ExitStack()
        with self._open as opening:
            self.server.start(
                [sys.executable, str(_SERVER), "--ollama", self._world.url(ollama.PORT), "--port", str(PORT)],
                environment={"PATH": os.environ["PATH"]},
                ready=lambda: bool(self.server.run("curl", "-sf", f"http://127.0.0.1:{PORT}/", check=False)),
                within=20,
            )
            opening.callback(self.server.stop)
            opening.enter_context(inside(self._world.pods.instance.pod_namespace(self._pod)))
            self.browser = webdriver.Chrome(options=self._options(), service=self._service())
            opening.callback(self.browser.quit)
            self.load()
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_) -> None:
        self._open.close()

    def load(self, model: str = ollama.SMALL) -> None:
        """Open the page with a model chosen."""
        self.browser.get(f"http://127.0.0.1:{PORT}/?model={model}")
        self._wait(lambda: self.browser.find_elements(By.CSS_SELECTOR, "#model option"))

    def ask(self, question: str):
        """Type a question, send it, and return the card of the answer once it is over."""
        before = len(self.cards())
        self.browser.find_element(By.ID, "text").send_keys(question + "\n")
        self._wait(lambda: len(self.cards()) == before + 2)
        self._wait(lambda: "waiting" not in self.cards()[-1].get_attribute("class"))
        return self.cards()[-1]

    def cards(self):
        """What is said, in order."""
        return self.browser.find_elements(By.CSS_SELECTOR, "#log article")

    def complaints(self) -> list[str]:
        """What the browser's console has of errors."""
        return [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]

    def picture(self, name: str) -> Path:
        """Write a picture of the page."""
        path = self._directory / f"{name}.png"
        assert self.browser.save_screenshot(str(path))
        return path

    def _wait(self, condition) -> None:
        WebDriverWait(self.browser, _WITHIN, poll_frequency=0.02).until(lambda _: condition())

    def _service(self) -> Service:
        driver = shutil.which("chromedriver")
        assert driver, "chromedriver is not installed: apt-get install chromium-driver"
        return Service(driver)

    def _options(self) -> webdriver.ChromeOptions:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        assert options.binary_location, "chromium is not installed: apt-get install chromium"
        for argument in (
            "headless=new",
            "no-sandbox",  # it refuses to be root with one
            "disable-gpu",
            "disable-dev-shm-usage",
            "disable-background-networking",
            "disable-component-update",
            "no-first-run",
            "no-proxy-server",
            "window-size=900,800",
            f"user-data-dir={self._directory / 'browser'}",
        ):
            options.add_argument(f"--{argument}")
        if self._dark:
            options.add_argument("--blink-settings=preferredColorScheme=0")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        return options


def part(card, selector: str) -> str:
    """The text of a part of a card: h2 (who says it), p (what), .refusal, footer."""
    found = card.find_elements(By.CSS_SELECTOR, selector)
    return found[0].get_property("textContent") if found else ""
