# SPDX-License-Identifier: Apache-2.0
"""Which files a journal continues, and which it refuses and leaves as they are."""

from __future__ import annotations

import pickle

import pytest
from journals import World, evs, kinds, pub_of

from qiskit_torch_bridge.backends import Journal
from qiskit_torch_bridge.exceptions import JournalError
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_a_file_cut_anywhere_is_continued(world):
    evs(world.start(), pub_of())
    whole = world.path.read_bytes()
    expected = evs(BatchedStatevectorEstimator(), pub_of())
    for length in range(0, len(whole) + 1, 7):
        world.path.write_bytes(whole[:length])
        jobs = len(world.ledger.jobs)
        estimator = world.start()
        assert (evs(estimator, pub_of()) == expected).all()
        estimator.journal.close()
        kept = whole[:length].count(b"\n")
        assert len(world.ledger.jobs) - jobs == (kept < 2)
        names = [kind for kind, _ in kinds(world.path)]
        assert names == ["intended", "submitted", "finished"]


def test_damage_before_the_last_line_is_refused(world):
    evs(world.start(), pub_of())
    world.end()
    lines = world.path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines):
        for damaged in (line[: len(line) // 2] + b"\n", b"\0" * 20 + b"\n", b"\xff\xfe\n", b"3\n"):
            content = b"".join([*lines[:number], damaged, *lines[number + 1 :]])
            world.path.write_bytes(content)
            with pytest.raises(JournalError, match="damaged|no journal"):
                Journal(world.path)
            assert world.path.read_bytes() == content  # nothing was changed


def test_a_changed_number_is_noticed(world):
    evs(world.start(), pub_of())
    world.end()
    whole = world.path.read_bytes()
    place = whole.index(b'base64":"') + 12
    other = b"A" if whole[place : place + 1] != b"A" else b"B"
    world.path.write_bytes(whole[:place] + other + whole[place + 1 :])
    with pytest.raises(JournalError, match="Line 4.*hash"):
        Journal(world.path)


@pytest.mark.parametrize("content", [b"precious", b"precious\n", b'{"weights": 1}', b"\0" * 50])
def test_files_of_another_kind_are_left_alone(tmp_path, content):
    path = tmp_path / "weights"
    path.write_bytes(content)
    with pytest.raises(JournalError, match="no journal"):
        Journal(path)
    assert path.read_bytes() == content


def test_newer_formats_are_refused(tmp_path):
    (tmp_path / "journal").write_bytes(b'{"event":"journal","version":99,"run":"x"}\n')
    with pytest.raises(JournalError, match="version 99"):
        Journal(tmp_path / "journal")


def test_a_journal_is_not_copied(tmp_path):
    with pytest.raises(JournalError, match="one process"):
        pickle.dumps(Journal(tmp_path / "journal"))


def test_a_journal_is_open_once(tmp_path):
    """Two that write to one file would number their requests alike."""
    first = Journal(tmp_path / "journal")
    with pytest.raises(JournalError, match="open already.*Give the Journal object to all"):
        Journal(tmp_path / "journal")
    first.close()
    Journal(tmp_path / "journal")
