# SPDX-License-Identifier: Apache-2.0
"""Nothing in a file is executed, and nothing small becomes large, whatever the file is."""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import json
import os
import random
import resource
import socket
import subprocess
import sys
from pathlib import Path

import hostile_files
import pytest
import qiskit
import torch
from hostile_files import model
from qiskit import qpy
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit.library import PauliEvolutionGate, UnitaryGate
from qiskit.quantum_info import SparsePauliOp

from qiskit_torch_bridge import CircuitProgram, TorchQuantumModule, load_checkpoint, save_checkpoint
from qiskit_torch_bridge.checkpoint import atomic_file, serialization
from qiskit_torch_bridge.exceptions import CheckpointError, StateDictError
from qiskit_torch_bridge.program.qpy_bytes import (
    circuit_from_bytes,
    circuit_to_bytes,
    release_vectors,
)
from qiskit_torch_bridge.program.qpy_grammar import BYTES_OF_ELEMENT, check_qpy

pytestmark = pytest.mark.usefixtures("collected")
MIB = 1 << 20
GROWN = 320
"""MiB: 256 that any circuit may take, and what reading a file takes beside it."""


@pytest.fixture(scope="module")
def readings(tmp_path_factory):
    """What comes of all hostile files, read in a process that may take 1 GiB."""
    folder = tmp_path_factory.mktemp("hostile")
    script = Path(hostile_files.__file__)
    done = subprocess.run(
        [sys.executable, str(script), str(folder)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder, [json.loads(line) for line in done.stdout.splitlines()]


def test_nothing_in_a_file_is_executed(readings):
    folder, found = readings
    assert len(found) > 600
    assert not (folder / "executed").exists()


def test_every_hostile_file_is_refused_by_a_typed_error_that_says_what_to_do(readings):
    _, found = readings
    strange = [r for r in found if r[1] not in ("StateDictError", "CheckpointError")]
    assert not strange
    remedies = (
        "Restore", "Build the model", "larger max_bytes", "Load it", "memory are free", "upgrade",
        "module.load_state_dict(", "damaged", "does not fit", "only_weights", "when it was saved",
        "save the module again", "Give journal=", "Make the same",
    )  # fmt: skip
    assert not [r for r in found if not any(remedy in r[2] for remedy in remedies)]


def test_no_hostile_file_takes_much_memory(readings):
    _, found = readings
    assert max(grown for *_, grown in found) < GROWN


# Circuits


def honest():
    """A circuit with a value of each kind that files hold."""
    x, v, big = Parameter("x"), ParameterVector("v", 3), ParameterVector("w", 500)
    inner = QuantumCircuit(2, global_phase=0.3)
    inner.rx(x / (2 * v[0] + 1), 0)
    inner.cx(0, 1)
    made = QuantumCircuit(3, global_phase=x)
    made.append(PauliEvolutionGate(SparsePauliOp(["XX", "ZZ"], [0.3, 0.7]), v[1]), [0, 2])
    made.append(inner.to_gate().control(1), [2, 0, 1])
    made.append(UnitaryGate([[0, 1], [1, 0]]), [1])
    made.u(v[2].sin() * 2, x**2 - 1, big[499], 0)
    made.mcx([0, 1], 2)
    made.barrier()
    return made


def test_what_this_package_writes_is_what_it_reads():
    made = honest()
    data, _ = circuit_to_bytes(made, list(made.parameters))
    assert data[6] == 13
    check_qpy(data)
    with pytest.raises(StateDictError, match="larger max_bytes"):
        circuit_from_bytes(data, max_bytes=500 * 512)
    circuit_from_bytes(data, max_bytes=MIB)


def test_what_qiskit_writes_in_this_version_is_read_whether_or_not_for_symengine():
    stream = io.BytesIO()
    qpy.dump(honest(), stream, version=13, use_symengine=False)
    data = stream.getvalue()
    for encoding in (b"p", b"e", b"?"):
        changed = data[:18] + encoding + data[19:]
        assert circuit_from_bytes(changed).num_parameters == honest().num_parameters


@pytest.mark.skipif(qiskit.__version__.startswith("2"), reason="pulses are gone from Qiskit 2")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pulses_stay_at_home():
    from qiskit import pulse

    angle = Parameter("angle")
    made = QuantumCircuit(1)
    made.rx(angle, 0)
    with pulse.build() as schedule:
        pulse.play(pulse.Gaussian(100, angle, 10), pulse.DriveChannel(0))
    made.add_calibration("rx", [0], schedule, [angle])
    data, expanded = circuit_to_bytes(made, [angle])
    assert not expanded and made.calibrations
    check_qpy(data)
    assert not circuit_from_bytes(data).calibrations


def test_damaged_circuits_are_read_or_refused_and_nothing_else():
    """Every prefix, and every byte changed to others."""
    made = honest()
    data, _ = circuit_to_bytes(made, list(made.parameters))
    draw = random.Random(5)
    cases = [data[:n] for n in range(0, len(data), 3)]
    for place in range(len(data)):
        for value in {0, 255, data[place] ^ 1 << draw.randrange(8)} - {data[place]}:
            if place % 3 == value % 3:
                cases.append(data[:place] + bytes([value]) + data[place + 1 :])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for case in cases:
        try:
            # Qiskit 2.1 to 2.4 would keep the vectors of them all, and this is about each of them.
            release_vectors(circuit_from_bytes(case))
        except StateDictError:
            refused += 1
    assert refused > len(cases) / 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWN << 10


def test_writing_a_circuit_over_and_over_leaves_nothing_in_memory():
    """What is written is read back, and Qiskit 2.1 to 2.4 keeps the vectors of what it reads."""
    made, size, times = QuantumCircuit(1), 5000, 40
    vector = ParameterVector("w", size)
    made.rx(vector[size - 1], 0)
    for time in range(times):
        if time == 5:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        circuit_to_bytes(made, list(made.parameters))
        gc.collect()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 0.25 * (times - 5) * size * 0.8  # kB: a quarter of what they would come to
    assert len(vector) == size


def test_elements_of_vectors_count_as_what_they_take():
    size = 100_000
    make = (
        "import resource\n"
        "from qiskit.circuit import ParameterVector\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"vector = ParameterVector('w', {size})\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", make], capture_output=True, check=True)
    assert int(done.stdout) * 1024 < size * BYTES_OF_ELEMENT


NAMES = [
    "__import__('os').mkdir('executed')",
    "(lambda: __import__('os').mkdir('executed'))()",
    "x); __import__('os').mkdir('executed') #",
    "os.mkdir('executed')[0]",
    "lambda",
    "1j",
    "v0",
    "'",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_parameters_are_names(name, tmp_path, monkeypatch):
    """They come from files, and are never evaluated, whatever is computed with the circuit."""
    monkeypatch.chdir(tmp_path)
    x, y = Parameter(name), Parameter("y")
    made = QuantumCircuit(1)
    made.ry(x / (2 * y + 3) + (x * y).sin(), 0)
    made.rx(x**2 + y**2, 0)
    program = CircuitProgram.from_state(CircuitProgram(made, "Z").to_state())
    weights = {p: 0.4 if p.name == name else 0.2 for p in program.parameters}
    module = TorchQuantumModule(program.circuit, "Z", initial_weights=weights)
    expected = TorchQuantumModule(made, "Z", initial_weights={y: 0.2, x: 0.4})
    torch.testing.assert_close(module(), expected(), rtol=0, atol=1e-12)
    module().sum().backward()
    assert torch.isfinite(module.weight.grad).all()
    repr((module, program, program.marks, module.to_circuit(), module.cost()))
    save_checkpoint("run", model=module)
    load_checkpoint("run", model=module)
    assert os.listdir() == ["run"]


# Checkpoints


def test_what_a_user_allows_is_read(tmp_path):
    path, ours = tmp_path / "run", torch.nn.Linear(1, 1)
    wide = torch.ones(1).expand(100 * MIB // 4)
    save_checkpoint(path, model=ours, extra=wide)
    assert path.stat().st_size < 40_000  # random states, and one number
    with pytest.raises(CheckpointError, match="larger max_bytes"):
        load_checkpoint(path, model=ours)
    loaded = load_checkpoint(path, model=ours, max_bytes=101 * MIB)
    assert torch.equal(loaded.extra, wide) and loaded.extra.stride() == (0,)
    with pytest.raises(CheckpointError, match="larger max_bytes"):
        load_checkpoint(path, model=ours, max_bytes=99 * MIB)


def test_slices_and_shared_tensors_are_saved_as_large_as_they_are(tmp_path):
    path, ours, large = tmp_path / "run", torch.nn.Linear(1, 1), torch.randn(1000, 1000)
    shared = torch.randn(10_000)
    extra = {"column": large[:, 3], "square": large[:4, :4].T, "same": [shared] * 50}
    save_checkpoint(path, model=ours, extra=extra)
    assert path.stat().st_size < 100_000
    loaded = load_checkpoint(path, model=ours).extra
    assert torch.equal(loaded["column"], large[:, 3])
    assert torch.equal(loaded["square"], large[:4, :4].T)
    assert all(torch.equal(t, shared) for t in loaded["same"])


DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16,
    torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128,
    torch.float8_e5m2,
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)], ids=str)
def test_tensors_of_every_kind_come_back(dtype, shape):
    numbers = torch.arange(torch.Size(shape).numel()).reshape(shape)
    tensor = (numbers % 2 if dtype is torch.bool else numbers).to(dtype)
    for value in (tensor, tensor.expand(5, *shape), tensor.mT if len(shape) > 1 else tensor):
        loaded = serialization.unpack(serialization.pack({"t": value}))["t"]
        assert loaded.dtype == dtype and loaded.shape == value.shape
        assert torch.equal(loaded.to(torch.complex128), value.to(torch.complex128))


def test_values_come_back_as_they_were():
    values = {
        "numbers": [0, -1, 2**63 - 1, -(2**63), 2**200, -(2**5000), 0.1, -0.0, 1e300, True, False],
        "limits": [float("inf"), float("-inf"), 1j, complex(0.1, -0.0)],
        "text": ["", "ä\0\n", "\ud800", b"", b"\0\xff", None],
        "kinds": [(), (1, (2,)), torch.Size([2, 3]), torch.float32, {}, {"T": 1, "d": [2]}],
        "keys": {1: 2, None: 3, (1, "a"): 4, False: 5, 2.5: 6, b"b": 7},
        "conjugated": [torch.tensor([1 + 2j]).conj(), torch.tensor([1 + 2j]).conj().imag],
    }
    loaded = serialization.unpack(serialization.pack(values))
    conjugated = loaded.pop("conjugated")
    assert [t.tolist() for t in conjugated] == [[1 - 2j], [-2.0]]
    del values["conjugated"]
    assert repr(loaded) == repr(values)
    (nan,) = serialization.unpack(serialization.pack({"a": [float("nan")]}))["a"]
    assert nan != nan


STRANGE = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "csr": lambda: torch.eye(3).to_sparse_csr(),
    "meta": lambda: torch.empty(3, device="meta"),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2)]),
}


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.filterwarnings("ignore:.*(prototype|beta state|deprecat)")
def test_tensors_that_are_no_plain_numbers_are_named(kind, tmp_path):
    with pytest.raises(CheckpointError, match=r"extra\[1\] to be dense and in memory"):
        value = [1, STRANGE[kind]()]
        save_checkpoint(tmp_path / "run", model=torch.nn.Linear(1, 1), extra=value)
    assert not [*tmp_path.iterdir()]


def test_values_that_contain_themselves_are_named(tmp_path):
    value = []
    value.append(value)
    with pytest.raises(CheckpointError, match="contains itself"):
        save_checkpoint(tmp_path / "run", model=torch.nn.Linear(1, 1), extra=value)
    assert not [*tmp_path.iterdir()]


def test_changed_checkpoints_are_read_or_refused_and_nothing_else(tmp_path):
    """As by someone who knows how to make the checksum right."""
    path, ours = tmp_path / "run", model()
    optimizer = torch.optim.Adam(ours.parameters())
    ours(torch.ones(2, 1)).sum().backward()
    optimizer.step()
    save_checkpoint(path, model=ours, optimizer=optimizer, cursor=[1, (2, {"a": 1j})])
    payload, draw = atomic_file.read(path), random.Random(3)
    text = 8 + int.from_bytes(payload[:8], "little")
    for case in range(400):
        changed = bytearray(payload)
        changed[draw.randrange(text if case % 4 else len(payload))] = draw.randrange(256)
        path.write_bytes(hostile_files.whole_file(bytes(changed)))
        with contextlib.suppress(CheckpointError):
            load_checkpoint(path, model=ours, optimizer=optimizer)


# What is no file


def device(path):
    path.symlink_to("/dev/null")


def full_device(path):
    path.symlink_to("/dev/full")


def endless_device(path):
    path.symlink_to("/dev/zero")


def listening(path):
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))


@pytest.mark.parametrize(
    "make", [os.mkfifo, Path.mkdir, device, full_device, endless_device, listening]
)
def test_only_files_are_read_and_replaced(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    path, ours = Path("thing"), torch.nn.Linear(1, 1)
    make(path)
    before = os.lstat(path), os.stat(path)
    for use in (save_checkpoint, load_checkpoint):
        with pytest.raises(CheckpointError, match="Expected the path of a file.*left as it is|was"):
            use(path, model=ours)
        after = os.lstat(path), os.stat(path)
        assert [s[:4] for s in after] == [s[:4] for s in before] and os.listdir() == ["thing"]


def test_links_to_files_are_written_through(tmp_path):
    target, link, chain = (tmp_path / name for name in ("target", "link", "chain"))
    ours = torch.nn.Linear(1, 1)
    link.symlink_to("target")
    chain.symlink_to(link)
    for extra in (1, 2):  # the target is not there, and is there
        save_checkpoint(chain, model=ours, extra=extra)
        assert link.is_symlink() and chain.is_symlink() and not target.is_symlink()
        assert load_checkpoint(target, model=ours).extra == extra
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for use in (save_checkpoint, load_checkpoint):
        with pytest.raises(CheckpointError, match=os.strerror(errno.ELOOP)):
            use(loop, model=ours)


@pytest.mark.parametrize("path", [None, 5, b"run", "", "a\0b", Ellipsis], ids=repr)
def test_paths_that_are_none_are_named(path):
    for use in (save_checkpoint, load_checkpoint):
        with pytest.raises(CheckpointError, match="Expected path to be the path of a file"):
            use(path, model=torch.nn.Linear(1, 1))


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "a", float("nan")], ids=repr)
def test_limits_that_are_none_are_named(limit, tmp_path):
    save_checkpoint(tmp_path / "run", model=model())
    with pytest.raises(CheckpointError, match="max_bytes to be a whole number from 1 up"):
        load_checkpoint(tmp_path / "run", model=model(), max_bytes=limit)
    with pytest.raises(StateDictError, match="max_bytes to be a whole number from 1 up"):
        CircuitProgram.from_state(model()[1].program.to_state(), max_bytes=limit)


@pytest.mark.parametrize("state", [{}, None, 5, {"circuit": "a", "program": "b"}], ids=repr)
def test_states_that_are_none_are_named(state):
    with pytest.raises(StateDictError, match="circuit .bytes. and program .text."):
        CircuitProgram.from_state(state)


def test_models_that_are_none_are_named(tmp_path):
    save_checkpoint(tmp_path / "run", model=torch.nn.Linear(1, 1))
    for use in (save_checkpoint, load_checkpoint):
        with pytest.raises(CheckpointError, match=r"torch.nn.Module; got None"):
            use(tmp_path / "run", model=None)
