"""A real Chromium without a window, and what it did: messages of its console, requests that it made."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
WAIT_S = 60.0  # on a busy machine


def missing() -> str | None:
    """Why there is no browser; None where there is one."""
    if CHROMIUM and DRIVER:
        return None
    return "there is no Chromium with its driver: apt-get install chromium chromium-driver"


class Browser:
    """Chromium through its driver.

    Parameters
    ----------
    downloads : Path
        Folder that files are saved in.
    """

    def __init__(self, downloads: Path) -> None:
        options = Options()
        options.binary_location = str(CHROMIUM)
        # Root may not use the sandbox, and /dev/shm is small in containers.
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                         "--force-prefers-reduced-motion"):  # fmt: skip
            options.add_argument(argument)
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.driver.set_script_timeout(WAIT_S)
        self.resize(1280, 900)

    def resize(self, width: int, height: int, dark: bool = False) -> None:
        """Show pages at this size in CSS pixels, as a phone where they are narrow, in a colour scheme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, file: Path, page: str = "") -> None:
        """Open a page of a report from disk, afresh, and wait until it is drawn."""
        self.driver.get("about:blank")
        self.driver.get(f"{file.as_uri()}#/{page}")
        self.wait("return Boolean(document.documentElement.dataset.ready)")

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script of the test returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, *arguments: Any) -> None:
        """Wait until a script returns something true."""
        end = time.monotonic() + WAIT_S
        while not self.run(script, *arguments):
            assert time.monotonic() < end, f"never true: {script}\n{self.problems()}"
            time.sleep(0.05)

    def problems(self) -> list[str]:
        """Warnings and errors of the console since the last call."""
        return [f"{e['level']}: {e['message']}" for e in self.driver.get_log("browser")]

    def requests(self) -> set[str]:
        """Addresses asked for since the last call, without what is in the page itself."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return {p["request"]["url"].partition("#")[0] for p in sent if not p["request"]["url"].startswith("data:")}

    def close(self) -> None:
        """End the browser."""
        self.driver.quit()
