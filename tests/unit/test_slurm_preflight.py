"""What is refused before anything is submitted, with what real clusters' sinfo and sacctmgr printed."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zooalign.errors import ConfigError
from zooalign.slurm import sinfo
from zooalign.slurm.preflight import Cluster, check_cluster, read_candidates, request
from zooalign.slurm.profile import check_jobs_at_a_time, check_status_command, most_jobs
from zooalign.slurm.sinfo import partition_yaml, read_nodes

# Formats as SLURM 20 to 24 print them: types with sockets, several types on a node, MPS beside GPUs, down nodes.
SINFO = """\
batch*|up|2-00:00:00|120|48|192000|(null)
long|up|infinite|20|48|192000|(null)
big|up|12:00:00|2|128|2063000|(null)
gpu|up|1-00:00:00|8|64|515000|gpu:a100:4(S:0-1),mps:400(S:0-1)
gpu|up|1-00:00:00|2|128|1031000|gpu:h100:8(IDX:0-7)
mixed|up|30:00|1|32|256000|gpu:rtx_3090:1,gpu:v100:3
plain|up|4:00:00|2|16|64000|gpu:2
closed|drain|1-00:00:00|4|64|515000|gpu:a100:4
"""
CPU_ONLY = "main*|up|7-00:00:00|4|16|64000|(null)\n"
ROW = {
    "rule": "align_row", "name": "emoji.a", "partition": None, "account": None,
    "mem_mb": 4000, "cpus": 2, "gpus": 0, "gpu_model": None, "runtime_min": 60,
}  # fmt: skip


@pytest.fixture
def cluster():
    return Cluster(tuple(read_nodes(SINFO)))


def asked(**changes):
    return {**ROW, **changes}


def test_partitions_are_read_as_sinfo_prints_them(cluster):
    by_name = {n.partition: n for n in cluster.nodes}
    assert by_name["batch"].default
    assert not by_name["long"].default
    assert by_name["long"].limit_min == float("inf")
    assert by_name["batch"].limit_min == 2880
    assert by_name["mixed"].limit_min == 30
    assert dict(by_name["mixed"].gpus) == {"rtx_3090": 1, "v100": 3}
    assert dict(by_name["plain"].gpus) == {"": 2}
    assert [dict(n.gpus) for n in cluster.nodes if n.partition == "gpu"] == [{"a100": 4}, {"h100": 8}]
    assert not by_name["closed"].open


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"partition": "gpu", "gpus": 4, "gpu_model": "a100"},
        {"partition": "gpu", "gpus": 8},
        {"partition": "gpu", "mem_mb": 1_031_000, "cpus": 128},
        {"partition": "plain", "gpus": 2},
        {"partition": "long", "runtime_min": 100_000},
        {"partition": "batch,gpu", "gpus": 1},
    ],
)
def test_what_a_node_can_do_is_accepted(cluster, changes):
    assert cluster.problems(asked(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"partition": "gpuu"}, r"unknown partition 'gpuu': did you mean 'gpu'\?.*slurm_partition in"),
        ({"partition": "gpu", "gpus": 1, "gpu_model": "A100"}, r"unknown GPU model 'A100'.*a100, h100.*gpu_classes"),
        ({"gpus": 1}, r"partition batch: 1 GPU asked for, 0 on a node; gpu, plain can run it: set resources"),
        ({"partition": "gpu", "gpus": 6, "gpu_model": "a100"}, r"6 GPUs of model a100 asked for, 4 on a node; ask"),
        ({"mem_mb": 200_000}, r"200000 MB asked for, 192000 on a node; big, gpu can run it"),
        ({"mem_mb": 9_000_000}, r"ask for less: resources.<rule>.mem_mb"),
        ({"cpus": 64}, r"64 CPUs asked for, 48 on a node"),
        ({"runtime_min": 2881}, r"2881 minutes asked for, its limit is 2880; long can run it"),
        ({"partition": "closed"}, r"closed takes no jobs now"),
    ],
)
def test_what_no_node_can_do_is_refused_with_the_key_to_change(cluster, changes, said):
    [problem] = cluster.problems(asked(**changes))
    assert re.search(said, problem), problem


def test_a_cluster_without_gpus_says_how_to_do_without():
    [problem] = Cluster(tuple(read_nodes(CPU_ONLY))).problems(asked(gpus=1))
    assert "extraction.device: cpu" in problem


def test_no_default_partition_is_said():
    cluster = Cluster(tuple(read_nodes(CPU_ONLY.replace("*", ""))))
    assert "no partition is named and the cluster has no default (main)" in cluster.problems(ROW)[0]


def test_accounts():
    nodes = tuple(read_nodes(SINFO))
    ours = Cluster(nodes, accounts=frozenset({"vision", "language"}))
    assert ours.problems(asked(account="Vision")) == []  # SLURM ignores case
    assert ours.problems(asked(account="vision,language")) == []
    [problem] = ours.problems(asked(account="vison"))
    assert "unknown account 'vison': did you mean 'vision'? Known: language, vision. Change slurm_account" in problem
    [problem] = Cluster(nodes).problems(asked(account="vision"))
    assert "lists no accounts of yours; remove slurm_account" in problem


def test_one_message_for_all_jobs(monkeypatch):
    monkeypatch.setattr(sinfo, "ask", lambda *command: SINFO)
    rows = [asked(name=f"emoji.m{i}", partition="bach") for i in range(9)]
    others = [asked(rule="index_features", partition="bach"), asked(rule="make_tables")]
    with pytest.raises(ConfigError, match="nothing was submitted") as caught:
        check_cluster([*rows, *others])
    text = str(caught.value)
    assert text.count("unknown partition") == 1
    assert "align_row: emoji.m0, emoji.m1, emoji.m2 and 6 more" in text
    assert "index_features: emoji.a" in text
    assert "make_tables" not in text


def test_nothing_to_submit_asks_nobody(monkeypatch):
    monkeypatch.setattr(sinfo, "ask", lambda *command: pytest.fail("asked"))
    check_cluster([])


def test_silent_or_absent_slurm_is_one_message(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"no sinfo on the PATH: start .* on a login node"):
        check_cluster([ROW])
    (tmp_path / "sinfo").write_text(
        "#!/bin/sh\necho 'slurm_load_partitions: Unable to contact controller' >&2\nexit 1"
    )
    (tmp_path / "sinfo").chmod(0o755)
    with pytest.raises(ConfigError, match="Unable to contact controller"):
        check_cluster([ROW])


@pytest.fixture
def candidates(tmp_path):
    file = tmp_path / "partitions.yaml"
    file.write_text(
        "partitions:\n"
        "  batch: {max_runtime: 2880, max_mem_mb: 192000, max_threads: 48}\n"
        "  long: {max_mem_mb: 192000, max_threads: 48}\n"
        "  gpu: {max_runtime: 1-00:00:00, max_mem_mb: 515000, max_threads: 64, max_gpu: 4}\n"
    )
    return file


def test_the_partition_file_chooses(cluster, candidates):
    chosen = Cluster(cluster.nodes, read_candidates(candidates))
    assert chosen.problems(asked(gpus=2)) == []
    assert chosen.problems(asked(runtime_min=5000)) == []
    # A partition of the file that the cluster does not have is found before jobs are sent to it.
    candidates.write_text("partitions:\n  bath: {max_threads: 4, max_runtime: 600}\n")
    [problem] = Cluster(cluster.nodes, read_candidates(candidates)).problems(ROW)
    assert "unknown partition 'bath': did you mean 'batch'" in problem


@pytest.mark.parametrize(
    "text", ["", "partitions: [gpu]", "partitions:\n  gpu: {max_gpus: 4}", "partitions: {gpu: }"]
)
def test_a_broken_partition_file_is_named(tmp_path, text):
    (tmp_path / "partitions.yaml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(str(tmp_path / "partitions.yaml"))):
        read_candidates(tmp_path / "partitions.yaml")


def test_the_printed_partition_file_accepts_what_the_nodes_can_do(cluster, tmp_path):
    file = tmp_path / "partitions.yaml"
    file.write_text(partition_yaml(cluster.nodes))
    chosen = Cluster(cluster.nodes, read_candidates(file))
    assert "closed" not in file.read_text()
    for changes in ({}, {"gpus": 8}, {"gpus": 1, "gpu_model": "v100", "runtime_min": 20}, {"mem_mb": 2_000_000}):
        assert chosen.problems(asked(**changes)) == [], changes


@given(
    mem_mb=st.integers(1, 10**7),
    runtime=st.floats(1, 10**5),
    gpus=st.sampled_from([0, 0, 1, 4]),
    partition=st.sampled_from([None, "batch", "big", "gpu", "long"]),
)
def test_a_further_attempt_fits_wherever_the_first_did(mem_mb, runtime, gpus, partition):
    cluster = Cluster(tuple(read_nodes(SINFO)))
    first = asked(mem_mb=mem_mb, runtime_min=runtime, gpus=gpus, partition=partition)
    second = {**first, "mem_mb": 2 * mem_mb, "runtime_min": 2 * runtime}
    fitted = cluster.fit(second)
    if not cluster.problems(first):
        assert cluster.problems(fitted) == []
        assert mem_mb <= fitted["mem_mb"] <= 2 * mem_mb
        assert runtime <= fitted["runtime_min"] <= 2 * runtime
    if not cluster.problems(second):
        assert fitted == second


def test_a_retry_keeps_to_the_partition_of_the_first_attempt(monkeypatch):
    monkeypatch.setattr(sinfo, "ask", lambda *command: SINFO)
    found = check_cluster([asked(rule="extract_features", name="emoji.vit", partition="plain", gpus=1)])
    resources = {"mem_mb": 90_000, "runtime": 900, "gpu": 1, "cpus_per_task": 4}
    # `plain` has 64 GB and four hours; `gpu` would have more.
    assert found.lower("extract_features", "emoji.vit", resources) == {**resources, "mem_mb": 64_000, "runtime": 240}


def test_a_request_follows_from_the_resources_of_a_job():
    resources = {"mem_mb": 900, "runtime": 30, "gpu": 2, "gpu_model": "a100", "slurm_account": "x", "tmpdir": "<TBD>"}
    assert request("extract_features", "emoji.vit", 4, resources) == {
        "rule": "extract_features", "name": "emoji.vit", "partition": None, "account": "x", "mem_mb": 900, "cpus": 4,
        "gpus": 2, "gpu_model": "a100", "runtime_min": 30,
    }  # fmt: skip


@pytest.mark.parametrize("storage", ["(null)", "accounting_storage/none", "accounting_storage/slurmdbd"])
def test_sacct_without_accounts_is_refused_at_the_start(tmp_path, monkeypatch, storage):
    scontrol = tmp_path / "scontrol"
    host = "echo 'AccountingStorageHost   = localhost'"
    scontrol.write_text(f"#!/bin/sh\n{host}\necho 'AccountingStorageType   = {storage}'\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    check_status_command("squeue")
    if storage.endswith("slurmdbd"):
        check_status_command("sacct")
        return
    with pytest.raises(ConfigError, match=r"keeps no accounts .*: set slurm-status-command: squeue"):
        check_status_command("sacct")


SACCTMGR = """\
#!/bin/sh
case "$*" in
  *associations*) printf 'lab|normal|200|\\ncourse|normal|30|20\\nfree|||\\n' ;;
  *"qos normal"*) printf '|\\n' ;;
  *"qos short"*) printf '8|50\\n' ;;
esac
"""


def test_more_jobs_at_a_time_than_slurm_takes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert most_jobs() is None  # nobody to ask
    sacctmgr = tmp_path / "sacctmgr"
    sacctmgr.write_text(SACCTMGR)
    sacctmgr.chmod(0o755)
    assert [most_jobs(account) for account in (None, "Lab", "course", "free")] == [20, 200, 20, None]
    assert [most_jobs(account, "short") for account in ("lab", "free")] == [8, 8]
    check_jobs_at_a_time(200, "lab")
    check_jobs_at_a_time(1000, "free")
    with pytest.raises(ConfigError, match=r"at most 20 jobs of yours .* up to 100: set jobs: 20 in profiles/slurm"):
        check_jobs_at_a_time(100, "course")
    with pytest.raises(ConfigError, match=r"at most 8 jobs of yours .*: set jobs: 8 in profiles/slurm"):
        check_jobs_at_a_time(100, "lab", "short")
    sacctmgr.write_text("#!/bin/sh\necho 'You are not running a supported accounting_storage plugin' >&2; exit 1")
    check_jobs_at_a_time(100)


def test_preemptible_partitions_are_marked():
    text = partition_yaml(
        read_nodes("cpu*|up|1:00:00|2|8|16000|(null)|OFF\nspare|up|1:00:00|2|8|16000|gpu:2|REQUEUE\n"
                   "lost|up|1:00:00|2|8|16000|(null)|CANCEL\n")
    )  # fmt: skip
    notes = [line for line in text.splitlines() if line.startswith("#")]
    assert notes == [
        "# lost is preemptible (PreemptMode=CANCEL): a job that loses its node is cancelled, and Snakemake would "
        "wait for it: delete the partition here.",
        "# spare is preemptible (PreemptMode=REQUEUE): a job that loses its node comes back and continues.",
    ]
