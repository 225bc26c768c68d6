"""Any file of a finished sweep, damaged in any way: the same command makes the same tables, or says one thing."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..sampled import repetitions

pytestmark = pytest.mark.workflow

BATCHES, RUNS, DAMAGES = 12, 15, 3  # 540 damages with --full
# What jobs say of themselves decides nothing.
LEFT_ALONE = ("logs", "benchmarks", "accounting", "usage")


@pytest.fixture(scope="module")
def next_run():
    script = Path(__file__).with_name("next_run.py")
    process = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(checkout):
        process.stdin.write(f"{checkout}\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield run
    process.stdin.close()
    process.wait(60)


def content(checkout):
    """What people publish: tables, and figures."""
    folders = [checkout / "results" / name for name in ("tables", "figures")]
    return {
        str(file.relative_to(checkout)): file.read_bytes()
        for folder in folders
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "provenance" not in file.parts
    }


def damage(file, rng):
    """Change a file in one of the ways of disks, editors and people; says how."""
    data = bytearray(file.read_bytes())
    way = rng.choice(["flip", "flip", "flip", "cut", "empty", "zeros", "append", "delete", "swap"])
    at = rng.randrange(len(data)) if data else 0
    if way == "delete":
        file.unlink()
        return f"delete {file}"
    if way == "flip" and data:
        data[at] ^= 1 << rng.randrange(8)
    elif way == "cut":
        del data[at:]
    elif way == "empty":
        data.clear()
    elif way == "zeros":
        data[at : at + 64] = bytes(len(data[at : at + 64]))
    elif way == "append":
        data += b"\n"
    elif way == "swap":
        data[at : at + 2] = data[at : at + 2][::-1]
    file.write_bytes(data)
    return f"{way} at {at} of {file}"


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("batch", repetitions(BATCHES))
def test_the_next_run_makes_the_same_tables_or_says_one_thing(finished, next_run, tmp_path, batch):
    wanted = content(finished.folder)
    assert len(wanted) >= 5
    problems = []
    for number in range(RUNS):
        rng = random.Random(1000 * batch + number)
        checkout = tmp_path / f"{number}"
        shutil.copytree(finished.folder, checkout, symlinks=True, ignore=shutil.ignore_patterns(".snakemake", "logs"))
        files = sorted(f for f in (checkout / "results").rglob("*") if f.is_file() and not f.name.startswith("."))
        files = [f for f in files if f.relative_to(checkout / "results").parts[0] not in LEFT_ALONE]
        done = [damage(file, rng) for file in rng.sample(files, DAMAGES)]
        if rng.random() < 0.5:
            # Alignment reads the indexes again, and indexing the features: nobody looks at bytes that nobody reads.
            row = rng.choice(sorted((checkout / "results/alignment/synthetic").glob("*.parquet")) or [None])
            if row is not None:
                row.unlink()
                row.with_suffix(".receipt.json").unlink(missing_ok=True)
                done.append(f"delete {row}")
        said = next_run(checkout)
        wrong = [message for message in said.get("messages", []) if message.count("ERROR: ") != 1]
        if wrong or not said.get("done") or content(checkout) != wanted:
            problems.append((done, said))
        shutil.rmtree(checkout)
    assert not problems, "\n\n".join(f"{done}: {said}" for done, said in problems)
