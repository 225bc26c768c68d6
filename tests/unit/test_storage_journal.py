"""The journal: whatever tears it, what it gives back are the first parts, each once, in order."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zooalign.errors import LeaseError
from zooalign.storage.journal import Journal

PARTS = [[0.1, 1 / 3], [2.0**-1074], [5e-324, 1e308], [3.0]]


class Lost:
    """A lease that another process has taken over."""

    def check(self):
        raise LeaseError("taken over")


def journal(folder, key="d", **options):
    return Journal(folder / "m.json", key, **options)


@given(cut=st.integers(0, 400), n=st.integers(0, 4), junk=st.binary(max_size=20))
@settings(max_examples=60, deadline=None)
def test_a_torn_journal_gives_whole_parts_and_goes_on(tmp_path_factory, cut, n, junk):
    folder = tmp_path_factory.mktemp("torn")
    first = journal(folder)
    first.resume("x")
    for part in PARTS[:n]:
        first.append(part)
    raw = first.path.read_bytes()
    first.path.write_bytes(raw[:cut] + junk)
    again = journal(folder)
    parts = again.resume("x")
    assert parts == PARTS[: len(parts)]
    assert len(parts) >= raw[:cut].count(b"\n")
    again.append(*PARTS[len(parts) :])
    assert journal(folder).resume("x") == PARTS


def test_other_work_is_not_continued(tmp_path):
    first = journal(tmp_path)
    first.resume("x")
    first.append([1.0])
    assert journal(tmp_path).resume("x") == [[1.0]]
    assert journal(tmp_path).resume("y") == []
    assert journal(tmp_path).resume("x") == []
    assert journal(tmp_path).path.read_bytes() == b""


def test_a_shared_file_keeps_what_belongs_to_others(tmp_path):
    for key, part in (("a", 1), ("b", 2), ("a", 3)):
        one = journal(tmp_path, key, shared=True)
        one.resume()
        one.append(part)
    assert journal(tmp_path, "a", shared=True).resume() == [1, 3]
    assert journal(tmp_path, "b", shared=True).resume() == [2]


def test_a_part_that_cannot_be_trusted_ends_it_unless_it_comes_again(tmp_path):
    one = journal(tmp_path)
    one.resume()
    one.append(1, 2, 3)
    assert journal(tmp_path).resume(accept=lambda part: part != 2) == [1]
    lines = [["d", 0, 1], ["d", 1, 20], ["d", 1, 2], ["d", 0, 7], ["d", 2, 3]]
    one.path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert journal(tmp_path).resume(accept=lambda part: part != 20) == [1, 2, 3]


def test_nothing_is_written_once_the_lease_is_lost(tmp_path):
    one = journal(tmp_path)
    one.resume()
    one.append(1)
    before = one.path.read_bytes()
    lost = journal(tmp_path, lease=Lost())
    assert lost.resume() == [1]
    with pytest.raises(LeaseError):
        lost.append(2)
    assert one.path.read_bytes() == before
