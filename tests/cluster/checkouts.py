"""A checkout that sends its jobs to the test cluster with the shipped profile, as a user does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import yaml

from ..terminal import default_signals
from ..workflow.conftest import ROOT, Checkout
from .processes import wait_for
from .slurm import STATE, Slurm

# What an admin of the test cluster writes into profiles/slurm/partitions.yaml.
PARTITIONS = {
    "cpu": {"max_runtime": 1440, "max_mem_mb": 16_000, "max_threads": 8},
    "gpu": {"max_runtime": 1440, "max_mem_mb": 16_000, "max_threads": 8, "max_gpu": 4},
}
# For tests only: check soon, and do not wait for a slow file system.
HURRY = ("--slurm-init-seconds-before-status-checks", "1", "--max-status-checks-per-second", "10",
         "--latency-wait", "5")  # fmt: skip


class Controller:
    """A running `snakemake --profile slurm`; its output goes to a file, so that it never blocks."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.output = folder / "controller.log"
        self._begin = self.output.stat().st_size if self.output.exists() else 0
        with open(self.output, "ab") as file:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                                            stdout=file, stderr=file, start_new_session=True,
                                            preexec_fn=default_signals)  # fmt: skip

    @property
    def text(self) -> str:
        """What it has printed so far."""
        with open(self.output, "rb") as file:
            file.seek(self._begin)
            return file.read().decode(errors="replace")

    @property
    def runs(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Signal the whole session, as a terminal does with Ctrl-C."""
        os.killpg(self.process.pid, number)

    def wait(self, check: bool = True, seconds: float = 1200) -> int:
        """Wait for its end; return the exit status.

        Raises
        ------
        AssertionError
            If it failed and `check` is true.
        """
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            raise AssertionError(f"still runs after {seconds} s:\n{self.text[-6000:]}") from None
        if check and status:
            raise AssertionError(self.text[-8000:])
        return status


class ClusterCheckout(Checkout):
    """A working directory whose `snakemake --profile slurm` goes to the test cluster."""

    def __init__(self, folder: Path, slurm: Slurm) -> None:
        super().__init__(folder)
        self.slurm = slurm
        self.partitions: dict = PARTITIONS
        self.edit: Callable[[str], str] = lambda profile: profile

    def write(self) -> None:
        super().write()
        for name in ("Snakefile", "workflow"):
            if not (self.folder / name).exists():
                (self.folder / name).symlink_to(ROOT / name)
        for name in ("default", "slurm"):
            shutil.copytree(ROOT / "profiles" / name, self.folder / "profiles" / name, dirs_exist_ok=True)
        if not (self.folder / "slurm").exists():
            (self.folder / "slurm").symlink_to("profiles/slurm")
        profile = self.folder / "profiles/slurm/config.yaml"
        profile.write_text(self.edit(profile.read_text()))
        (self.folder / "profiles/slurm/partitions.yaml").write_text(yaml.safe_dump({"partitions": self.partitions}))

    def start(self, *arguments: str, **environment: str) -> Controller:
        """Start the documented command; returns at once."""
        self.write()
        command = [sys.executable, str(Path(__file__).with_name("fastpoll.py")), "--profile", "slurm", *HURRY,
                   *arguments]  # fmt: skip
        common = {"OMP_NUM_THREADS": "1", "SLURM_CONF": str(STATE / "slurm.conf")}
        return Controller(command, self.folder, {**os.environ, **common, **environment})

    def run(self, *arguments: str, check: bool = True, seconds: float = 1200) -> Controller:
        """Start it and wait for its end."""
        controller = self.start(*arguments)
        controller.wait(check, seconds)
        return controller

    def jobs(self, after: int = 0):
        """SLURM's records of this checkout's jobs."""
        return self.slurm.jobs(self.folder, after)

    def submissions(self, after: int = 0) -> Counter:
        """How many jobs were submitted for each rule."""
        return Counter(job.rule for job in self.jobs(after))

    def wait_until_quiet(self) -> None:
        """Wait until no job of this checkout runs or waits."""
        wait_for(lambda: all(job.is_over for job in self.jobs()), "no job of the checkout left", 400)
