"""A private SLURM on one host: four fake nodes, two of them with fake GPUs, started and stopped by the tests.

Needs root and the Debian packages slurmctld, slurmd, slurm-client and munge; neither systemd nor cgroups. Only one
can run on a host, because /etc/slurm/slurm.conf must lead to its configuration: Snakemake's job steps start `srun`
without SLURM_CONF in its environment.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .processes import Process, SlurmError, wait_for

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
# Every folder above munge's socket must be open to all, and sockets need a short path.
STATE = Path("/var/lib/zooalign-slurm")
PLACE = Path("/etc/slurm/slurm.conf")
NODES = ("n1", "n2", "n3", "n4")
GPU_NODES = ("n3", "n4")
CPUS, MEM_MB, GPUS = 8, 16_000, 4

CONF = """
ClusterName=zooalign
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={state}/run/munge.sock,cred_expire=5
StateSaveLocation={state}/controller
SlurmdSpoolDir={state}/spool.%n
SlurmctldPidFile={state}/run/slurmctld.pid
SlurmdPidFile={state}/run/slurmd.%n.pid
SlurmctldLogFile={state}/log/slurmctld.log
SlurmdLogFile={state}/log/slurmd.%n.log
# No cgroups and no binding: works in a container without systemd.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# A job that uses more memory than it asked for is killed; looked at every second.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
MpiDefault=none
SwitchType=switch/none
# The declared size of a node counts, not the hardware's.
SlurmdParameters=config_overrides
ReturnToService=2
SelectType=select/cons_tres
# Jobs spread over the nodes, so that one that fails takes few of them.
SelectTypeParameters=CR_Core_Memory,CR_LLN
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
DefMemPerCPU=500
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
# Ended jobs stay visible: they are the record that tests count.
MinJobAge=86400
MaxJobCount=20000
KillWait=2
CompleteWait=0
SlurmctldTimeout=60
SlurmdTimeout=60
MessageTimeout=20
BatchStartTimeout=20
GresTypes=gpu
MailProg=/bin/true
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
{nodes}
PartitionName=cpu Nodes=n[1-2] Default=YES MaxTime=1-0 DefaultTime=10 State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=gpu Nodes=n[3-4] MaxTime=1-0 DefaultTime=10 State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=preempt Nodes=n[3-4] MaxTime=1-0 DefaultTime=10 State=UP PriorityTier=1 PreemptMode=REQUEUE
"""


@dataclass(frozen=True)
class Job:
    """A job as SLURM records it, running or ended."""

    id: int
    name: str
    comment: str
    state: str
    reason: str
    partition: str
    node: str
    cpus: int
    mem_mb: int
    gpus: int
    limit: str
    restarts: int
    folder: str

    @property
    def rule(self) -> str:
        """Rule of the workflow; Snakemake writes it into the comment, of a group after the group's name."""
        return re.sub(r"^(\w+)_\1$", r"\1", re.sub(r"^rule_|_wildcards_.*", "", self.comment))

    @property
    def is_over(self) -> bool:
        """Whether SLURM is done with it."""
        return self.state not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED")


def missing() -> str | None:
    """Why no cluster can be started here, or None."""
    if os.name != "posix" or os.geteuid() != 0:
        return "a test SLURM needs root"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"SLURM is not installed: no {', '.join(absent)}"
    foreign = PLACE.exists() and not (PLACE.is_symlink() and PLACE.readlink() == STATE / "slurm.conf")
    return f"{PLACE} exists: this host has a SLURM of its own" if foreign else None


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Wait until no other test run on this host holds a cluster; the kernel frees the lock of one that dies."""
    STATE.parent.mkdir(parents=True, exist_ok=True)
    with open(STATE.with_suffix(".lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Slurm:
    """The cluster: partitions `cpu` (n1, n2), `gpu` (n3, n4) and `preempt` (n3, n4, requeued by jobs of `gpu`)."""

    def __init__(self) -> None:
        self.state = STATE
        self._children: list[subprocess.Popen] = []

    # Start and stop -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Clean what a killed test run left, then start munge, the controller and the nodes.

        Raises
        ------
        SlurmError
            If /etc/slurm/slurm.conf belongs to somebody else, or a daemon does not start.
        """
        self.stop()
        if PLACE.is_symlink() or PLACE.exists():
            raise SlurmError(f"{PLACE} exists and is not the test cluster's")
        shutil.rmtree(self.state, ignore_errors=True)
        for name in ("run", "log", "controller", "gpu", *(f"spool.{node}" for node in NODES)):
            (self.state / name).mkdir(parents=True)
        for folder in (self.state, self.state / "run"):
            folder.chmod(0o755)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        key, socket_path = self.state / "munge.key", self.state / "run/munge.sock"
        key.touch(mode=0o400)
        key.write_bytes(os.urandom(128))
        self._spawn("munged", "--foreground", "--num-threads=2", f"--key-file={key}", f"--socket={socket_path}",
                    f"--pid-file={self.state}/run/munged.pid", f"--log-file={self.state}/log/munged.log",
                    f"--seed-file={self.state}/run/munged.seed")  # fmt: skip
        self._wait(lambda: _ok("munge", "-n", "-S", str(socket_path)), "munge")
        (self.state / "gres.conf").write_text(self._gpus())
        ports = free_ports(1 + len(NODES))
        host = socket.gethostname().partition(".")[0]
        nodes = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} RealMemory={MEM_MB} "
            + (f"Gres=gpu:fake:{GPUS} " if node in GPU_NODES else "")
            + "State=UNKNOWN"
            for node, port in zip(NODES, ports[1:], strict=True)
        ]
        self.conf.write_text(CONF.format(host=host, port=ports[0], state=self.state, nodes="\n".join(nodes)))
        PLACE.parent.mkdir(exist_ok=True)
        PLACE.symlink_to(self.conf)
        self._spawn("slurmctld", "-D", "-i", "-f", str(self.conf))
        for node in NODES:
            self._spawn("slurmd", "-D", "-N", node, "-f", str(self.conf), name=f"slurmd.{node}")
        self._wait(lambda: self.nodes().count("idle") == len(NODES), "all nodes idle")

    def _gpus(self) -> str:
        """gres.conf: character devices, so that SLURM hands out indices; only counts where they are forbidden."""
        try:
            for i in range(GPUS):
                os.mknod(self.state / f"gpu/nvidia{i}", 0o666 | 0o020000, os.makedev(1, 3))
            found = f"File={self.state}/gpu/nvidia[0-{GPUS - 1}]"
        except PermissionError:
            found = f"Count={GPUS}"
        return "".join(f"NodeName={node} Name=gpu Type=fake {found}\n" for node in GPU_NODES)

    def _spawn(self, *command: str, name: str = "") -> None:
        name = name or command[0]
        with open(self.state / f"log/{name}.out", "wb") as out:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                     start_new_session=True)  # fmt: skip
        self._children.append(child)
        record = [*self.recorded(), Process.of(name, child.pid)]
        staged = self.state / "processes.json.new"
        staged.write_text(json.dumps([[p.name, p.id, p.start] for p in record]))
        staged.replace(self.state / "processes.json")

    def _wait(self, condition: Callable[[], object], what: str) -> None:
        def reached() -> bool:
            for process in self.recorded():
                if not process.runs:
                    said = (self.state / f"log/{process.name}.out").read_text()[-1000:]
                    raise SlurmError(f"{process.name} ended while waiting for {what}: {said}")
            return bool(condition())

        wait_for(reached, f"{what}; logs in {self.state}/log", 30)

    def recorded(self) -> list[Process]:
        """The daemons of the last start, this object's or another's."""
        try:
            return [Process(*fields) for fields in json.loads((self.state / "processes.json").read_text())]
        except FileNotFoundError:
            return []

    def stop(self) -> None:
        """Stop exactly what a start recorded, the jobs' processes included, and remove the configuration."""
        ours = self.recorded()
        if any(p.runs for p in ours if p.name == "slurmctld"):
            with contextlib.suppress(subprocess.SubprocessError, SlurmError):
                self.cancel_all()
        for prefix in ("slurmd.", "slurmctld", "munged"):
            found = [p for p in ours if p.name.startswith(prefix)]
            for process in found:
                if process.runs:
                    os.kill(process.id, signal.SIGTERM)
            for process in found:
                process.stop()
        # What a daemon lost sight of, or what a node that is gone left behind.
        for pid in [*self.job_processes(), *self.step_daemons()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for child in self._children:
            child.wait()
        self._children = []
        if PLACE.is_symlink() and PLACE.readlink() == self.conf:
            PLACE.unlink()
        (self.state / "processes.json").unlink(missing_ok=True)

    @property
    def conf(self) -> Path:
        """The configuration file."""
        return self.state / "slurm.conf"

    # What a user and an admin do ------------------------------------------------------------------------------------

    def run(self, *command: str, check: bool = True, **options) -> str:
        """Run a SLURM command and return what it prints."""
        done = subprocess.run(command, text=True, capture_output=True, timeout=30, **options)
        if check and done.returncode:
            raise SlurmError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def nodes(self) -> list[str]:
        """State of every node."""
        states = dict(line.split() for line in self.run("sinfo", "-h", "-N", "-o", "%N %t").splitlines())
        return [states.get(node, "absent") for node in NODES]

    def jobs(self, folder: Path | None = None, after: int = 0) -> list[Job]:
        """Every job that was ever submitted, by number.

        Parameters
        ----------
        folder : path, optional
            Only jobs submitted from this checkout.
        after : int
            Only jobs with a greater number.
        """
        lines = self.run("scontrol", "-o", "show", "job", check=False).splitlines()
        jobs = sorted((_job(line) for line in lines if line.startswith("JobId=")), key=lambda job: job.id)
        return [job for job in jobs if job.id > after and folder in (None, Path(job.folder))]

    def job(self, number: int) -> Job:
        """One job by its number."""
        return next(job for job in self.jobs() if job.id == number)

    def submit(self, script: str, *options: str, folder: Path | None = None) -> int:
        """Submit a shell script; return the job's number."""
        text = self.run("sbatch", "--parsable", *options, "--output=/dev/null", cwd=folder or self.state,
                        input=f"#!/bin/sh\n{script}\n")  # fmt: skip
        return int(text.split(";")[0])

    def cancel(self, number: int) -> None:
        """`scancel`, as a user or an admin does it."""
        self.run("scancel", str(number))

    def requeue(self, number: int) -> None:
        """`scontrol requeue`: the job starts again under its number."""
        self.run("scontrol", "requeue", str(number))

    def node_down(self, node: str) -> None:
        """Declare a node dead; SLURM requeues its jobs."""
        self.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")

    def node_up(self, node: str) -> None:
        """Bring a node back."""
        self.run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)
        wait_for(lambda: self.nodes()[NODES.index(node)] in ("idle", "mix", "alloc"), f"{node} back in service")

    def preempt(self, node: str) -> int:
        """Take a whole GPU node with a job of higher priority; returns its number."""
        return self.submit("sleep 1", "--partition=gpu", f"--nodelist={node}", "--exclusive", "--time=2")

    def set_time_limit(self, number: int, minutes: int) -> None:
        """Change the time limit of a job; SLURM looks at limits every 30 s."""
        self.run("scontrol", "update", f"JobId={number}", f"TimeLimit={minutes}")

    def cancel_all(self) -> None:
        """Cancel every job and wait until all are over."""
        numbers = [str(job.id) for job in self.jobs() if not job.is_over]
        if numbers:
            self.run("scancel", *numbers, check=False)
            self.run("scancel", "--signal=KILL", "--full", *numbers, check=False)
        wait_for(lambda: not self.run("squeue", "-h", check=False).strip(), "no job in the queue", 30)

    def job_processes(self, number: int | None = None) -> list[int]:
        """Processes that run inside jobs of this cluster, or inside one job."""
        marks = {f"SLURM_CONF={self.conf}".encode(), b"SLURM_JOB_ID"}
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                environment = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            names = {variable.partition(b"=")[0] for variable in environment} | set(environment)
            inside = b"SLURM_JOB_ID=%d" % number in names if number else marks <= names
            if inside and (b"SLURM_CLUSTER_NAME=zooalign" in names):
                found.append(int(folder.name))
        return found

    def step_daemons(self) -> list[int]:
        """The slurmstepd of every running job step of this cluster; they hide their environment."""
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                if (folder / "exe").readlink().name.startswith("slurmstepd"):
                    files = {str(file.readlink()) for file in (folder / "fd").iterdir()}
                    found += [int(folder.name)] * any(name.startswith(f"{self.state}/") for name in files)
        return found


def free_ports(n: int) -> list[int]:
    """Ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _ok(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def _job(line: str) -> Job:
    """A line of `scontrol -o show job`."""
    fields = dict(re.findall(r"(\S+?)=(\S*)", line))
    asked = fields.get("ReqTRES") or fields.get("TRES", "")
    tres = dict(part.partition("=")[::2] for part in asked.split(",") if part)
    gpus = re.search(r"gpu(?::[^:,]+)?[:=](\d+)", fields.get("TresPerJob", "") + fields.get("TresPerNode", ""))
    mem = re.fullmatch(r"([\d.]+)([MGT]?)", tres.get("mem", "0"))
    return Job(
        id=int(fields["JobId"]),
        name=fields["JobName"],
        comment=fields.get("Comment", ""),
        state=fields["JobState"],
        reason=fields.get("Reason", ""),
        partition=fields["Partition"],
        node=fields.get("NodeList", "").replace("(null)", ""),
        cpus=int(tres.get("cpu", 0)),
        mem_mb=round(float(mem[1]) * {"M": 1, "": 1, "G": 1024, "T": 1024**2}[mem[2]]) if mem else 0,
        gpus=int(gpus[1]) if gpus else 0,
        limit=fields.get("TimeLimit", ""),
        restarts=int(fields.get("Restarts", 0)),
        folder=fields.get("WorkDir", ""),
    )
