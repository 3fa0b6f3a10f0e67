# SPDX-License-Identifier: Apache-2.0
"""Which files a journal continues, and which it refuses and leaves as they are."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import filelock
import numpy as np
import pytest
from circuits import rotation
from faults import Ledger, RequestsApiError, Service, result_of
from journals import World, evs, kinds, pub_of
from qiskit.circuit import QuantumCircuit
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from qiskit_torch_bridge.exceptions import JournalError
from qiskit_torch_bridge.jobs import DispatchingEstimator, Jobs, Journal, journal_file
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


# -- what is no journal ------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"precious", b"precious\n", b'{"weights": 1}', b"\0" * 50])
def test_files_of_another_kind_are_left_alone(tmp_path, content):
    path = tmp_path / "weights"
    path.write_bytes(content)
    with pytest.raises(JournalError, match="no journal"):
        Journal(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("length", [0, 1, 18, 40])
def test_a_file_without_its_first_line_is_refused(world, length):
    """It does not say which jobs are its own; after a crash it has that line, or is not there."""
    evs(world.start(), pub_of())
    world.end()
    content = world.path.read_bytes()[:length]
    world.path.write_bytes(content)
    with pytest.raises(JournalError, match="cut in its first line.*Restore the file"):
        Journal(world.path)
    assert world.path.read_bytes() == content and len(world.ledger.jobs) == 1


@pytest.mark.parametrize("version", [1, 99])
@pytest.mark.parametrize("chained", [False, True])
def test_other_versions_are_refused(tmp_path, version, chained):
    """The first version, which had no hashes, and such as may come, with hashes and without."""
    event = {"event": "journal", "version": version, "run": "x"}
    first = (
        journal_file._line(event, "")[0] if chained else json.dumps(event, separators=",:").encode()
    )
    content = first.rstrip() + b'\n{"event":"intended"}\n'
    (tmp_path / "journal").write_bytes(content)
    with pytest.raises(JournalError, match=f"of version {version}, which this release does not"):
        Journal(tmp_path / "journal")
    assert (tmp_path / "journal").read_bytes() == content


def test_folders_devices_pipes_and_sockets_are_refused(tmp_path, monkeypatch):
    """Before anything is opened, made or waited for."""
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    os.mkdir("folder")
    os.mkfifo("pipe")
    os.symlink("folder", "link")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        before = files_in(tmp_path)
        for path in ("folder", "link", "pipe", "socket", "/dev/null", Path("folder")):
            with pytest.raises(
                JournalError, match=r"Expected a journal to be a file; .* is (a|no)"
            ):
                Journal(path)
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("path", [None, 5, "", b"", "a\0b", "nowhere/journal", "file/journal"])
def test_what_is_no_path_is_refused(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="Expected (a )?journal"):
        Journal(path)
    assert files_in(tmp_path) == ["file"]


def test_paths_of_all_kinds_lead_to_a_journal(tmp_path):
    os.symlink(tmp_path / "made", tmp_path / "link")
    for path in (tmp_path / "a", str(tmp_path / "b"), tmp_path / "link"):
        Journal(path).close()
    assert {"a", "b", "made", "link"} <= set(files_in(tmp_path))
    assert (tmp_path / "link").is_symlink()


def test_a_journal_is_not_copied(tmp_path):
    with pytest.raises(JournalError, match="one process"):
        pickle.dumps(Journal(tmp_path / "journal"))


@needs_fork
def test_a_journal_is_made_in_one_step(tmp_path):
    """Killed at any moment of it, a process leaves a whole first line or no file."""
    for moment in range(4):
        path, pid = tmp_path / str(moment), os.fork()
        if not pid:
            left, real = [moment], (journal_file.put, os.fsync, os.link, os.unlink)

            def struck(call, left=left):
                def strikes(*args):
                    if not left[0]:
                        os.kill(os.getpid(), signal.SIGKILL)
                    left[0] -= 1
                    return call(*args)

                return strikes

            journal_file.put, os.fsync, os.link = map(struck, real[:3])
            Journal(path)
            os._exit(0)
        os.waitpid(pid, 0)
        assert path.exists() is (moment > 2)
        Journal(path).close()
        assert path.read_bytes().count(b"\n") == 1
    assert not [name for name in files_in(tmp_path) if name.endswith(".tmp")]


# -- one process at a time ---------------------------------------------------------------------


def test_a_journal_is_open_once(tmp_path):
    """Two that write to one file would number their requests alike."""
    first = Journal(tmp_path / "journal")
    os.symlink(tmp_path / "journal", tmp_path / "link")
    os.link(tmp_path / "journal", tmp_path / "also")
    for name in ("journal", "link", "also"):
        with pytest.raises(JournalError, match="open already.*Give the Journal object to all"):
            Journal(tmp_path / name)
    first.close()
    first.close()
    with pytest.raises(JournalError, match="is closed"):
        first.begin(pub_of())
    Journal(tmp_path / "link").close()
    del first
    Journal(tmp_path / "journal")  # open as long as the object is there
    Journal(tmp_path / "journal")


def test_it_is_open_once_where_there_are_no_locks(tmp_path, monkeypatch):
    """Some network file systems have none; in one process it is known all the same."""

    def lacking(lock, **options):
        raise OSError(errno.ENOSYS, "no locks")

    monkeypatch.setattr(filelock.FileLock, "acquire", lacking)
    first = Journal(tmp_path / "journal")
    with pytest.raises(JournalError, match="open already"):
        Journal(tmp_path / "journal")
    first.close()
    second = Journal(tmp_path / "journal")
    # Another process is noticed by what it has written.
    with open(second.path, "ab") as other:
        other.write(b"something\n")
    with pytest.raises(JournalError, match="changed by another program"):
        second.begin(pub_of())


def test_a_process_that_is_killed_opens_it(tmp_path):
    code = (
        "import sys, time; from qiskit_torch_bridge.jobs import Journal\n"
        "journal = Journal(sys.argv[1]); print('open', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "journal")]
    here = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": here}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(JournalError, match="open already"):
            Journal(tmp_path / "journal")
        holder.kill()
    Journal(tmp_path / "journal")


@needs_fork
def test_a_forked_process_neither_writes_on_nor_opens_it(tmp_path):
    """A child of a fork shares the open file; its end must not open the lock."""
    journal = Journal(tmp_path / "journal")
    entry, _ = journal.begin(pub_of())
    before = journal.path.read_bytes()
    pid = os.fork()
    if not pid:
        refused = 0
        for call in (
            lambda: journal.begin(pub_of()),
            lambda: journal.finished(entry, pub_of(), result_of(np.zeros((2, 4)))[0]),
            lambda: Journal(journal.path),
        ):
            try:
                call()
            except JournalError:
                refused += 1
        journal.close()
        del journal
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    assert journal.path.read_bytes() == before
    with pytest.raises(JournalError, match="open already"):
        Journal(journal.path)
    journal.begin(pub_of(1))


# -- while it is open --------------------------------------------------------------------------


def deleted(path):
    path.unlink()


def moved(path):
    path.rename(path.with_name("elsewhere"))


def replaced(path):
    path.with_name("copy").write_bytes(path.read_bytes())
    path.with_name("copy").replace(path)


def emptied(path):
    path.write_bytes(b"")


def longer(path):
    with open(path, "ab") as file:
        file.write(b"{}\n")


@pytest.mark.parametrize("change", [deleted, moved, replaced, emptied, longer])
def test_a_file_that_is_taken_away_is_noticed_before_anything_is_submitted(world, change):
    estimator = world.start()
    evs(estimator, pub_of(0))
    change(world.path)
    for pub in (pub_of(1), pub_of(1), pub_of(0)):
        with pytest.raises(JournalError, match="while it was open.*Put the file back"):
            evs(estimator, pub)
    assert len(world.ledger.jobs) == 1 and estimator.journal.position == 1


def test_it_is_noticed_before_a_part_is_submitted_again(world):
    estimator = world.start(on_submission={0: [RequestsApiError("busy", 503)]})
    sleep = world.time.sleep
    world.time.sleep = lambda seconds: sleep(seconds) or world.path.unlink(missing_ok=True)
    with pytest.raises(JournalError, match="deleted or moved while it was open"):
        evs(estimator, pub_of())
    assert world.ledger.jobs == []


def test_a_job_that_is_under_way_is_named(world):
    estimator = world.start()
    service = world.services[0]
    run = service.run
    service.run = lambda pubs: (run(pubs), world.path.unlink())[0]
    with pytest.raises(JournalError, match="Job a-0 was submitted, which cannot be written down"):
        evs(estimator, pub_of())


def test_a_result_that_was_changed_is_no_answer(world):
    estimator = world.start()
    evs(estimator, pub_of())
    content = world.path.read_bytes()
    place = content.index(b'base64":"') + 12
    other = b"A" if content[place : place + 1] != b"A" else b"B"
    with open(world.path, "r+b") as file:  # as long as before
        file.seek(place)
        file.write(other)
    estimator.journal.position = 0
    with pytest.raises(JournalError, match="was changed by another program"):
        evs(estimator, pub_of())


# -- what is asked, and what is answered -------------------------------------------------------


def test_a_circuit_that_is_changed_in_place_is_another_one(world):
    """Its value is the other one's, or refused where a journal knows another request."""
    circuit, theta = rotation()
    value = np.cos(0.4)

    def pub():
        return EstimatorPub.coerce((circuit, "Z", {(theta,): [[0.4]]}))

    estimator = world.start()
    assert evs(estimator, pub()) == pytest.approx(value, abs=1e-10)
    circuit.x(0)
    assert evs(estimator, pub()) == pytest.approx(-value, abs=1e-10)
    estimator.journal.position = 0
    with pytest.raises(JournalError, match="Request 0 differs"):
        evs(estimator, pub())
    del circuit.data[-1]
    assert evs(estimator, pub()) == pytest.approx(value, abs=1e-10)
    copied, again = circuit.copy(), QuantumCircuit(1)
    again.compose(copied.assign_parameters([theta]), inplace=True)
    for equal in (copied, again):
        estimator.journal.position = 0
        circuit = equal
        assert evs(estimator, pub()) == pytest.approx(value, abs=1e-10)
    assert len(world.ledger.jobs) == 2


def test_a_single_number_has_no_shape(tmp_path):
    circuit = QuantumCircuit(1)
    circuit.ry(0.4, 0)
    for _ in range(2):
        journal = Journal(tmp_path / "journal")
        estimator = DispatchingEstimator(BatchedStatevectorEstimator(), Jobs(journal=journal))
        found = estimator.run([(circuit, "Z")]).result()[0].data
        assert found.shape == found.evs.shape == found.stds.shape == ()
        assert found.evs == pytest.approx(np.cos(0.4), abs=1e-12)
        journal.close()
    assert estimator.used.jobs == 1


# -- a disk that fails -------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("place", ["write", "half a write", "synchronise"])
def test_what_cannot_be_written_is_an_error(world, monkeypatch, code, place):
    """At each event: nothing is paid for twice, and the file is whole, also for this process."""
    expected = evs(BatchedStatevectorEstimator(), pub_of())
    put, fsync, left = journal_file.put, os.fsync, [0]

    def fails():
        left[0] -= 1
        if left[0] == -1:
            raise OSError(code, os.strerror(code))

    def failing_put(descriptor, data):
        half = len(data) // 2 if place == "half a write" and not left[0] else 0
        put(descriptor, data[:half])
        fails()
        put(descriptor, data[half:])

    def failing_fsync(descriptor):
        fsync(descriptor)
        fails()

    for event in range(3):
        world.end()
        for path in (world.path, world.ledger.path):
            path.unlink(missing_ok=True)
        world.ledger = Ledger(world.ledger.path)
        estimator, left[0] = world.start(), event
        with monkeypatch.context() as broken:
            if place == "synchronise":
                broken.setattr(os, "fsync", failing_fsync)
            else:
                broken.setattr(journal_file, "put", failing_put)
            with pytest.raises(JournalError, match="cannot be written.*Make room") as caught:
                evs(estimator, pub_of())
        assert ("Job a-0 was submitted" in str(caught.value)) is (event == 1)
        assert world.path.read_bytes().count(b"\n") == 1 + event
        estimator.journal.position = 0  # the last checkpoint
        assert (evs(estimator, pub_of()) == expected).all()
        assert (evs(world.start(), pub_of()) == expected).all()
        assert len(world.ledger.jobs) == 1
        assert [kind for kind, _ in kinds(world.path)] == ["intended", "submitted", "finished"]


@needs_fork
def test_a_file_over_its_limit_is_an_error(tmp_path):
    """With the system's own error, for each length from the first line on."""
    import resource

    size, outcomes = None, []
    for limit in [10**6, *range(120, 900, 60)]:
        folder = tmp_path / str(limit)
        folder.mkdir()
        pid = os.fork()
        if not pid:
            journal = Journal(folder / "journal")
            service = Service(folder / "ledger", name="a")
            estimator = DispatchingEstimator(service, Jobs(journal=journal))
            run = service.run

            def elsewhere(pubs, limit=limit, run=run):  # the limit is not the service's
                resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))
                job = run(pubs)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, 10**6))
                return job

            service.run = elsewhere
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, 10**6))
            try:
                evs(estimator, pub_of())
            except JournalError as error:
                os._exit(3 if "File too large" in str(error) else 4)
            os._exit(0)
        outcomes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        size = size or (folder / "journal").stat().st_size
        assert outcomes[-1] == (3 if limit < size else 0)
        world = World(folder)
        evs(world.start(), pub_of())
        world.end()
        names = [kind for kind, _ in kinds(world.path)]
        assert names == ["intended", "submitted", "finished"]
    assert 3 in outcomes


# -- cost --------------------------------------------------------------------------------------


def long_journal(path, requests, numbers=1):
    """Write a journal of many requests, all answered, without waiting for the disk."""
    Journal(path).close()
    head = path.read_bytes()[-3 - journal_file.LENGTH : -3].decode()
    data = {"evs": {"shape": [numbers], "base64": "AAAAAAAA8D8" * numbers}}
    with open(path, "ab") as file:
        for n in range(requests):
            for event in (
                {"event": "intended", "n": n, "digest": "0" * 64, "tag": f"tag-{n}"},
                {"event": "submitted", "n": n, "job": f"job-{n}", "usage": [1, 1, 1, 1, 1]},
                {"event": "finished", "n": n, "data": data},
            ):
                line, head = journal_file._line(event, head)
                file.write(line)


def test_opening_takes_time_in_proportion_to_the_lines(tmp_path):
    """Ten times the lines take ten times as long, up to the noise of a busy machine."""
    took = {}
    for requests in (300, 3000):
        long_journal(tmp_path / str(requests), requests)
        for _ in range(3):
            begin = time.process_time()
            journal = Journal(tmp_path / str(requests))
            spent = time.process_time() - begin
            took[requests] = min(spent, took.get(requests, spent))
            assert journal.used.jobs == requests
            journal.close()
    assert took[3000] < 30 * took[300]


def test_results_stay_on_disk(tmp_path):
    long_journal(tmp_path / "journal", 20, numbers=50_000)
    size = (tmp_path / "journal").stat().st_size
    tracemalloc.start()
    journal = Journal(tmp_path / "journal")
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    journal.close()
    assert size > 10_000_000
    # One line is read at a time: its bytes, its text, and what is decoded of it.
    assert kept < size / 50 and peak < size / 4
