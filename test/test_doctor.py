# SPDX-License-Identifier: Apache-2.0
"""The doctor notices what is wrong when it is wrong, and says so in every format."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
import qiskit
import qiskit_aer.primitives
import torch
from numba.core import event
from operation_strategies import BINDS_SQUARES
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.primitives import StatevectorEstimator

from qiskit_torch_bridge import doctor, memory
from qiskit_torch_bridge.__main__ import main
from qiskit_torch_bridge.accelerators import choose
from qiskit_torch_bridge.doctor import (
    Finding,
    facts,
    format_json,
    format_text,
    machine,
    packages,
    worst_status,
)
from qiskit_torch_bridge.simulation.statevector import kernels

VERSION = tuple(int(part) for part in qiskit.__version__.split(".")[:2])


def complete(finding, status):
    """A finding has a status, and says what it means and what to do unless it is ok."""
    assert finding.status == status, finding
    assert finding.found and (status == "ok" or (finding.meaning and finding.remedy))
    return f"{finding.found} {finding.meaning} {finding.remedy}"


def judged(name, status):
    """What the report says of a fact."""
    (fact,) = (fact for fact in facts.FACTS if fact.name == name)
    return complete(facts.judge(fact), status)


# Versions


@pytest.mark.parametrize(
    ("name", "installed", "status", "said"),
    [
        ("qiskit", "1.4.6", "ok", "1.4.6"),
        ("qiskit", "2.6.2", "ok", "2.6.2"),
        ("qiskit", "1.3.9", "fail", 'pip install "qiskit>=1.4,!=2.1.0,!=2.1.1"'),
        ("qiskit", "2.1.1", "fail", "cannot be used"),
        ("qiskit", "2.1.2", "ok", "2.1.2"),
        ("qiskit", "3.0.0rc1", "warn", "newest version tested is 2.6"),
        ("qiskit", None, "fail", "not installed"),
        ("torch", "2.13.0+cpu", "ok", "+cpu"),
        ("torch", "2.4.1", "fail", "2.5 or newer"),
        ("numpy", "1.26.4", "fail", "2.0 or newer"),
        ("numba", "0.60.0", "fail", "0.61 or newer"),
        ("scipy", "1.17.1", "ok", "1.17"),
        ("qiskit-ibm-runtime", None, "warn", "qiskit-torch-bridge[runtime]"),
    ],
)
def test_versions(name, installed, status, said, monkeypatch):
    def version(asked):
        assert asked == name
        if installed is None:
            raise PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(packages, "version", version)
    assert said in complete(packages.check_package(name, packages.NEEDED[name]), status)


@pytest.mark.parametrize(("here", "status"), [((3, 9), "fail"), ((3, 12), "ok"), ((3, 99), "warn")])
def test_python(here, status, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (*here, 1))
    complete(packages.check_python(), status)


def test_the_table_of_versions_is_that_of_the_package():
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    required = re.search(r"\ndependencies = \[(.*?)\]", text, re.DOTALL)[1]
    listed = {r.strip() for r in re.findall(r'"(.*?)"', required)}
    always = {n: p for n, p in packages.NEEDED.items() if not p.purpose}
    assert {packages._requirement(n, p).strip('"') for n, p in always.items()} == listed


# Known faults


def test_miscomputed_expressions(monkeypatch):
    judged("parameter expressions", "ok" if BINDS_SQUARES else "warn")
    judged("sums of powers", "ok" if BINDS_SQUARES else "warn")
    monkeypatch.setattr(facts, "ROUNDING", -1)
    found = judged("parameter expressions", "warn")
    assert "qiskit>=2.5.2" in found and "modules refuse those that would be wrong" in found
    assert "nothing can be done about it here" in judged("sums of powers", "warn")


class Right:
    """Aer's estimator, if it bound everything correctly."""

    def __new__(cls, *args, **kwargs):
        return StatevectorEstimator()


class Constant(StatevectorEstimator):
    """An estimator that computes nothing."""

    def __init__(self, *args, **kwargs):
        super().__init__()

    def run(self, pubs, *, precision=None):
        job = super().run(pubs, precision=precision)
        done = job.result()
        for result in done:
            result.data.evs[...] = 0.25
        job.result = lambda: done
        return job


def test_controlled_gates_on_aer(monkeypatch):
    said = judged("controlled gates on Aer", "warn")
    assert "ignores angles bound through a PUB in crx, cp" in said
    monkeypatch.setattr(qiskit_aer.primitives, "EstimatorV2", Right)
    judged("controlled gates on Aer", "ok")
    monkeypatch.setattr(qiskit_aer.primitives, "EstimatorV2", Constant)
    assert "on Aer: a module gives 0.25" in judged("controlled gates on Aer", "fail")


def test_seeds(monkeypatch):
    names = ("seeds of StatevectorEstimator", "seeds of Aer's EstimatorV2")
    for name in names:
        assert "the noise of PUBs and runs repeats itself with" in judged(name, "warn")
    generators = StatevectorEstimator(seed=np.random.default_rng(1))
    monkeypatch.setattr(qiskit_aer.primitives, "EstimatorV2", lambda **_: generators)
    monkeypatch.setattr(facts, "StatevectorEstimator", lambda **_: generators)
    for name in names:
        judged(name, "ok")


def test_precision_on_aer(monkeypatch):
    assert "adds normal noise" in judged("shots on Aer", "ok")
    monkeypatch.setattr(facts, "float", lambda _: 1.0, raising=False)
    assert "draws shots" in judged("shots on Aer", "ok")


def test_evolution_gates(monkeypatch):
    said = judged("evolution gates", "ok")
    assert ("product formula" in said) is (VERSION >= (2, 1))
    monkeypatch.setattr(qiskit_aer.primitives, "EstimatorV2", Constant)
    assert "a module gives 0.250000; right is" in judged("evolution gates", "fail")


def test_library_blocks(monkeypatch):
    assert "Aer refuses them" in judged("library blocks on Aer", "ok")
    monkeypatch.setattr(qiskit_aer.primitives, "EstimatorV2", Right)
    assert "Aer takes them" in judged("library blocks on Aer", "ok")
    monkeypatch.setattr(qiskit_aer.primitives, "EstimatorV2", Constant)
    assert "gives 0.250000" in judged("library blocks on Aer", "fail")


def test_qpy(monkeypatch):
    judged("QPY", "ok" if VERSION >= (2, 4) else "warn")

    def loses(chosen):
        def load(buffer):
            circuit = original(buffer)[0]
            return [QuantumCircuit(1) if chosen(circuit) else circuit]

        return load

    original = qiskit.qpy.load
    monkeypatch.setattr(qiskit.qpy, "load", loses(lambda circuit: circuit.num_qubits == 1))
    assert "quotients" in judged("QPY", "warn")
    monkeypatch.setattr(qiskit.qpy, "load", loses(lambda circuit: True))
    assert "of another circuit" in judged("QPY", "fail")
    monkeypatch.setattr(qiskit.qpy, "dump", lambda *_, **__: 1 / 0)
    judged("QPY", "fail")


def test_conventions(monkeypatch):
    for name in ("arrays of operators", "bindings of one parameter", "order of parameters"):
        judged(name, "ok")
    array = np.array
    with monkeypatch.context() as patched:
        patched.setattr(
            np, "array", lambda *a, **k: np.empty(2) if k.get("dtype") is object else array(*a, **k)
        )
        assert "keeps its operators now" in judged("arrays of operators", "warn")
    with monkeypatch.context() as patched:
        patched.setattr(facts, "StatevectorEstimator", _Nested)
        assert "no longer has shape (3,)" in judged("bindings of one parameter", "warn")
    names = [Parameter("x2"), Parameter("x10"), *ParameterVector("v", 12)]
    monkeypatch.setattr(QuantumCircuit, "parameters", property(lambda _: names))
    assert "no longer sorted" in judged("order of parameters", "warn")


class _Nested(StatevectorEstimator):
    def run(self, pubs, **options):
        circuit, observable, values = pubs[0]
        bound = {tuple(circuit.parameters): np.array(values)[:, :, None]}
        return super().run([(circuit, observable, bound)], **options)


def test_files_of_torch(monkeypatch):
    refuses = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 6)
    judged("torch.load", "ok" if refuses else "warn")
    monkeypatch.setattr(torch, "load", lambda buffer: object())
    assert "could run code" in judged("torch.load", "warn")


# Machine


def children_seconds():
    """Seconds of computing, which do not depend on what else runs on the machine."""
    times = os.times()
    return times.children_user + times.children_system


def run_doctor(*arguments, **environment):
    before = children_seconds()
    found = subprocess.run(
        [sys.executable, "-m", "qiskit_torch_bridge", "doctor", "--json", *arguments],
        capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip
    assert not found.stderr, found.stderr
    report = json.loads(found.stdout)
    return report, found.returncode, children_seconds() - before


def test_the_whole_command_with_cold_kernels(tmp_path):
    report, status, seconds = run_doctor(NUMBA_CACHE_DIR=str(tmp_path))
    assert status == (report["status"] == "fail") == 0
    assert seconds < 30
    by_name = {finding["name"]: finding for finding in report["findings"]}
    cold = by_name["kernels on disk"]
    assert cold["status"] == "warn" and cold["found"].startswith("not compiled yet, in")
    assert str(tmp_path) in cold["found"] and "doctor --compile" in cold["remedy"]
    assert not [*tmp_path.rglob("*.nbi")] and "exact engine" not in by_name
    assert {finding["group"] for finding in report["findings"]} == set(doctor.group_checks())


def test_kernels(monkeypatch, tmp_path):
    on_disk, exact = machine.check_kernels(compile_now=True)
    assert "compiled, in" in complete(on_disk, "ok") and "off by" in complete(exact, "ok")
    assert [f.name for f in machine.check_kernels()] == ["kernels on disk", "exact engine"]
    with monkeypatch.context() as patched:
        patched.setattr(machine, "_is_writable", lambda _: False)
        assert "NUMBA_CACHE_DIR" in complete(machine.check_kernels()[0], "warn")
    with monkeypatch.context() as patched:
        patched.setattr(machine, "_evaluate_once", lambda: (0.5, 0.0))
        assert "this processor" in complete(machine.check_kernels()[1], "fail")
    with monkeypatch.context() as patched:
        patched.setattr(machine, "_evaluate_once", _raise(machine._ColdError()))
        (cold,) = machine.check_kernels()
        assert "--compile" in complete(cold, "warn")
        patched.setattr(machine, "_is_writable", lambda _: False)
        (cold,) = machine.check_kernels()
        assert "in every process" in complete(cold, "warn")
    error = RuntimeError("cannot cache function")
    monkeypatch.setattr(kernels, "kernel", _raise(error))
    before = registered()
    assert "NUMBA_CACHE_DIR" in complete(machine.check_kernels()[0], "fail")
    assert registered() == before  # else no kernel could be compiled any more


def registered():
    """The listeners to Numba's compilations."""
    return list(event._registered["numba:compile"])


def _raise(error):
    def function(*_):
        raise error

    return function


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    assert machine._is_writable(tmp_path / "new") and not machine._is_writable(
        tmp_path / "file" / "x"
    )


@pytest.mark.parametrize(
    ("threads", "cores", "quota", "status", "said"),
    [
        (4, 4, None, "ok", "4 of torch"),
        (1, 4, None, "ok", "set_num_threads(4)"),
        (8, 4, None, "warn", "OMP_NUM_THREADS=4"),
        (4, 4, "150000 100000", "warn", "may use 1.5"),
        (2, 4, "150000 100000", "ok", "may use 1.5"),
        (4, 4, "max 100000", "ok", "4 cores"),
    ],
)
def test_threads(threads, cores, quota, status, said, monkeypatch, tmp_path):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(machine, "_count_cores", lambda: cores)
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    if quota:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert said in complete(machine.check_threads(), status)


@pytest.mark.parametrize(
    ("free", "limit", "used", "status", "said"),
    [
        (1 << 34, None, 0, "ok", "up to 29 qubits, 30 with"),
        ((1 << 34) - 1, None, 0, "ok", "up to 28 qubits"),
        (1 << 34, "max", 5, "ok", "29 qubits"),
        (1 << 34, 3 << 30, 1 << 30, "warn", "up to 26 qubits"),
        (1 << 34, 1 << 35, 0, "ok", "29 qubits"),
        (1 << 24, None, 0, "warn", "up to 19 qubits"),
        (1 << 62, None, 0, "ok", "does not tell"),
    ],
)
def test_memory(free, limit, used, status, said, monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "available", lambda: free)
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    if limit is not None:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text(f"{used}\n")
    assert said in complete(machine.check_memory(), status)


def test_the_largest_circuit_is_what_the_engine_accepts(monkeypatch, tmp_path):
    from qiskit_torch_bridge.exceptions import MemoryLimitError

    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(memory, "available", lambda: 32 << 22)  # of 22 qubits
    qubits = int(re.search(r"up to (\d+) qubits", machine.check_memory().found)[1])
    assert qubits == 22
    memory.require(2 * 16 << qubits, qubits)
    with pytest.raises(MemoryLimitError):
        memory.require(2 * 16 << (qubits + 1), qubits + 1)


# Backends and extras


def test_aer(monkeypatch):
    assert "runs on CPU" in complete(packages.check_aer(), "ok")
    monkeypatch.setattr(qiskit_aer.primitives, "EstimatorV2", Constant)
    complete(packages.check_aer(), "fail")
    monkeypatch.setitem(sys.modules, "qiskit_aer", None)
    assert "pip install" in complete(packages.check_aer(), "fail")


def test_fake_devices(monkeypatch):
    complete(packages.check_fake_devices(), "ok")
    with monkeypatch.context() as patched:
        patched.setattr(packages, "TOLERANCE", -1)
        complete(packages.check_fake_devices(), "fail")
    monkeypatch.setitem(sys.modules, "qiskit_ibm_runtime.fake_provider", None)
    assert "[runtime]" in complete(packages.check_fake_devices(), "warn")


def test_accelerators(monkeypatch):
    for name, value in {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_name": lambda _: "Big Card",
        "get_device_capability": lambda _: (9, 0),
        "mem_get_info": lambda _: (64 << 30, 80 << 30),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    found = complete(machine.check_accelerators(), "ok")
    assert "Big Card, compute capability 9.0, 64.0 of 80.0 GiB free, 32 qubits" in found
    monkeypatch.setattr(choose, "has_triton", lambda: True)
    assert "the interpreter only" in complete(machine.check_device_kernels(), "warn")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert complete(machine.check_accelerators(), "ok").strip() == "CPU"
    assert "have not run on one" in complete(machine.check_device_kernels(), "ok")
    monkeypatch.setattr(choose, "has_triton", lambda: False)
    assert "no Triton" in complete(machine.check_device_kernels(), "ok")


def test_optional_packages(monkeypatch):
    def tqdm():
        return packages.check_package("tqdm", packages.OPTIONAL["tqdm"])

    assert "for progress bars" in complete(tqdm(), "ok")
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "tqdm", None)
        said = complete(tqdm(), "warn")
        assert "cannot be imported" in said and "--force-reinstall" in said
    monkeypatch.setattr(packages, "version", _raise(PackageNotFoundError("tqdm")))
    said = complete(tqdm(), "warn")
    assert (
        "not installed It is needed for progress bars" in said
        and '"qiskit-torch-bridge[demos]"' in said
    )
    assert [f.name for f in packages.check_optional_packages()] == list(packages.OPTIONAL)


# The command


OK = Finding("one", "ok", "found this", "which is fine", group="A")
WARN = Finding("two", "warn", "found " + "that " * 40, "it matters", "do that", "A")
FAIL = Finding("three", "fail", "nothing", "it is broken", "mend it", "B", 0.25)


def test_the_report_in_words():
    text = format_text([OK, WARN, FAIL], colour=False, width=60)
    lines = text.splitlines()
    assert lines[:2] == ["A", "  ok    one: found this. which is fine"]
    assert "          means: it matters" in lines and "          do: mend it" in lines
    assert lines[lines.index("B") - 1] == "" and "  fail  three: nothing" in lines
    assert lines[-1].startswith("1 ok, 1 warn, 1 fail in 0.2 s. Something does not work")
    assert max(map(len, lines[:-1])) <= 60 and "\033" not in text


def test_the_report_in_colour():
    text = format_text([OK, WARN, FAIL], colour=True)
    for colour, word in ((32, "ok  "), (33, "warn"), (31, "fail")):
        assert f"\033[{colour}m{word}\033[0m" in text
    plain = re.sub(r"\033\[\d+m", "", text)
    assert plain == format_text([OK, WARN, FAIL], colour=False)


def test_the_report_for_machines():
    report = json.loads(format_json([OK, FAIL], "1.2"))
    assert report["version"] == "1.2" and report["status"] == "fail"
    assert report["findings"][1] == FAIL._asdict()
    assert (
        worst_status([OK]) == "ok"
        and worst_status([OK, WARN]) == "warn"
        and worst_status([]) == "ok"
    )


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("found", "status"), [([OK], 0), ([OK, WARN], 0), ([WARN, FAIL], 1)])
def test_the_exit_status(found, status, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "group_checks", lambda _: {"A": {"one": lambda: found}})
    assert main(["doctor"]) == status
    assert "\033" not in capsys.readouterr().out
    assert main(["doctor", "--json"]) == status
    assert json.loads(capsys.readouterr().out)["status"] == worst_status(found)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main(["doctor"]) == status and "\033" in terminal.getvalue()
    shown = terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["doctor"]) == status and "\033" not in terminal.getvalue()[len(shown) :]


def test_an_error_in_a_check_is_a_finding(monkeypatch):
    def unlucky_check():
        raise ZeroDivisionError("why")

    monkeypatch.setattr(
        doctor, "group_checks", lambda _: {"A": {"unlucky": unlucky_check, "one": lambda: OK}}
    )
    broken, after = doctor.examine()
    assert broken.name == "unlucky" and "ZeroDivisionError: why" in complete(broken, "fail")
    assert after.name == "one" and after.group == "A"


def test_the_command_compiles_only_if_asked(monkeypatch):
    asked = []
    monkeypatch.setattr(machine, "check_kernels", lambda now: asked.append(now) or OK)
    for arguments in ([], ["--compile"]):
        parser = argparse.ArgumentParser()
        doctor.add_command(parser.add_subparsers())
        options = parser.parse_args(["doctor", *arguments])
        doctor.group_checks(options.compile)["Exact engine"]["kernels"]()
    assert asked == [False, True]
