"""What `zooalign status` says of jobs that wait in SLURM's queue."""

from zooalign.slurm.squeue import Queued, left_in, queued, waiting

LISTING = """\
zooalign_3f2a|12|PENDING|PartitionDown|gpu|/lab|rule_extract_features_wildcards_emoji_minilm_l6
zooalign_3f2a|13|RUNNING|None|cpu|/lab|rule_align_row_wildcards_emoji_e5_small
zooalign-extract|14|PENDING|AssocGrpCPUMinutesLimit|gpu|/lab|extract_features a | b on emoji
mine|15|PENDING|Priority|cpu|/lab|(null)
slurm_load_jobs error: nonsense
"""


def squeue(folder, text, status=0):
    script = folder / "squeue"
    script.write_text(f"#!/bin/sh\ncat <<'E'\n{text}E\nexit {status}\n")
    script.chmod(0o755)


def test_our_jobs_are_listed_with_the_reason_that_they_wait_for(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    squeue(tmp_path, LISTING)
    jobs = queued()
    assert jobs[0] == Queued(
        "12", "PENDING", "PartitionDown", "gpu", "/lab", "rule_extract_features_wildcards_emoji_minilm_l6"
    )
    assert [job.number for job in jobs] == ["12", "13", "14"]
    assert waiting(jobs) == [
        "job 12 in partition gpu waits: PartitionDown (rule_extract_features_wildcards_emoji_minilm_l6)",
        "job 14 in partition gpu waits: AssocGrpCPUMinutesLimit (extract_features a | b on emoji)",
    ]
    assert left_in("/lab", jobs) == (
        "3 jobs of this run are still in the queue: the next run waits for what they write; to cancel them: "
        "scancel 12 13 14"
    )
    assert left_in("/elsewhere", jobs) == ""


def test_where_slurm_is_not_or_does_not_answer_there_is_nothing_to_say(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert queued() == []
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    squeue(tmp_path, "zooalign_1|2|PENDING|None|cpu|/lab|x\n", status=1)
    assert queued() == []
