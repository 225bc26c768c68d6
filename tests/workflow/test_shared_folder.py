"""Two people and one results folder: with umask 002 they work on, otherwise a message says what to set."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from .conftest import ROOT, Checkout, counted, packaged, tiny_vit

GROUP, ANNA, BERT = 30_000, 20_001, 20_002  # numbers that no user of this machine has to have

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(os.geteuid() != 0, reason="being two users needs root"),
]


class Person(Checkout):
    """Somebody's own checkout, whose results are in the common folder."""

    def __init__(self, folder, results, user):
        super().__init__(folder)
        self.user = user
        self.config |= {"results": str(results), "capabilities": [], "tables": ["alignment"], "figures": []}
        self.models = [tiny_vit("vit_a", 1), *packaged("wordllama")]
        self.write()
        os.chown(folder, user, GROUP)

    def call(self, *command, umask):
        self.write()
        environment = {**os.environ, "HOME": str(self.folder), "LOGNAME": self.folder.name, "OMP_NUM_THREADS": "1"}
        return subprocess.run([sys.executable, *map(str, command)], cwd=self.folder, env=environment, text=True,
                              capture_output=True, user=self.user, group=GROUP, extra_groups=[], umask=umask,
                              timeout=900)  # fmt: skip

    def sweep(self, *arguments, umask=0o002):
        return self.call("-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--cores", "2", "--workflow-profile",
                         ROOT / "profiles/default", *arguments, umask=umask)  # fmt: skip


@pytest.fixture
def people():
    """Anna, Bert, and the folder that both may write."""
    place = Path(tempfile.mkdtemp(prefix="zooalign-lab-"))  # not below pytest's folder, which is root's alone
    place.chmod(0o755)
    results = place / "results"
    results.mkdir()
    os.chown(results, ANNA, GROUP)
    results.chmod(0o2775)
    try:
        anna, bert = (Person(place / name, results, user) for name, user in (("anna", ANNA), ("bert", BERT)))
        try:
            able = anna.call("-c", "import zooalign, torch, snakemake", umask=0o022)
        except PermissionError as error:
            pytest.skip(f"other users cannot start this Python: {error}")
        if able.returncode:
            pytest.skip(f"other users cannot read this environment: {able.stderr[-200:]}")
        yield anna, bert, results
    finally:
        shutil.rmtree(place)


def test_two_people_continue_each_others_sweep(people):
    anna, bert, results = people
    first = anna.sweep()
    assert first.returncode == 0, first.stderr[-3000:]
    # Bert adds a model, makes anew what is damaged, and takes over the row that Anna's model has.
    bert.models.append(tiny_vit("vit_b", 2))
    (results / "indexes/synthetic/wordllama.zarr/zarr.json").write_bytes(b"{")
    second = bert.sweep()
    assert second.returncode == 0, second.stderr[-3000:]
    assert (results / "alignment/synthetic/vit_b.parquet").stat().st_uid == BERT
    anna.models.append(tiny_vit("vit_b", 2))
    third = anna.sweep("-n", "--quiet", "rules")
    assert third.returncode == 0, third.stderr[-3000:]
    assert counted(third.stdout) == {}


def test_without_the_umask_a_message_says_what_to_set(people):
    anna, bert, results = people
    first = anna.sweep("--until", "extract_features", umask=0o022)
    assert first.returncode == 0, first.stderr[-3000:]
    before = yaml.safe_dump(sorted(str(file) for file in results.rglob("*") if file.is_file()))
    bert.models.append(tiny_vit("vit_b", 2))
    second = bert.sweep()
    assert second.returncode != 0
    assert "several people: a common group and umask 002, see docs/cluster.md" in second.stderr
    assert "Traceback" not in second.stderr
    assert yaml.safe_dump(sorted(str(file) for file in results.rglob("*") if file.is_file())) == before
