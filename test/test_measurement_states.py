# SPDX-License-Identifier: Apache-2.0
"""What is measured travels with a program: in states, marks, pickles and checkpoints."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from circuits import A, X, hybrid
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, random_density_matrix, random_statevector

from qiskit_torch_bridge import (
    CircuitProgram,
    CVaR,
    Entropy,
    Fidelity,
    Probabilities,
    Purity,
    State,
    TorchQuantumModule,
    Variance,
    expectation,
    load_checkpoint,
    save_checkpoint,
)
from qiskit_torch_bridge.exceptions import CheckpointError, StateDictError

ENERGY = SparsePauliOp(["ZZ", "IZ"], [0.7, -0.2])
MEASUREMENTS: dict[str, Any] = {
    "nothing said": None,
    "observables": ["ZZ", "XI"],
    "all": Probabilities(),
    "reversed": Probabilities([1, 0]),
    "one": Probabilities([1]),
    "parity": Probabilities(interpret="parity"),
    "parity and room": Probabilities(interpret="parity", output_size=3),
    "table": Probabilities(interpret=[2, 0, 0, 1]),
    "another table": Probabilities(interpret=[2, 0, 1, 1]),
    "table and room": Probabilities(interpret=[2, 0, 0, 1], output_size=4),
    "variance": Variance(["ZZ", "XI"]),
    "other variance": Variance(["ZZ", "YI"]),
    "nested": Variance([["ZZ", "XI"]]),
    "tail": CVaR(ENERGY, 0.3),
    "wider tail": CVaR(ENERGY, 0.4),
    "other tail": CVaR(1.1 * ENERGY, 0.3),
    "tail of a projector": CVaR(["1I", "Z0"], 0.3),
    "purity": Purity(0),
    "other purity": Purity(1),
    "entropy": Entropy(0),
    "bits": Entropy(0, base=2),
    "fidelity": Fidelity(random_statevector(4, seed=1)),
    "other fidelity": Fidelity(random_statevector(4, seed=2)),
    "fidelity with a mixture": Fidelity(random_density_matrix(4, seed=3)),
    "fidelity of one": Fidelity([0.6, 0.8], [1]),
    "state": State(),
}


def program(name: str) -> CircuitProgram:
    return CircuitProgram(hybrid(), MEASUREMENTS[name], input_params=X, weight_params=A)


def value(program: CircuitProgram) -> torch.Tensor:
    x, w = torch.tensor([0.3, 0.4]).double(), torch.tensor([0.5, 0.6, 0.7]).double()
    return expectation(program, x, w)


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_programs_come_back_whatever_they_measure(name):
    ours = program(name)
    saved = json.loads(json.dumps(ours.to_state()["program"]))
    for theirs in (
        CircuitProgram.from_state({**ours.to_state(), "program": saved}),
        pickle.loads(pickle.dumps(ours)),
    ):
        assert theirs == ours and hash(theirs) == hash(ours)
        assert repr(theirs) == repr(ours)
        assert theirs.marks == ours.marks
        assert ours.difference_from_state(theirs.to_state()) is None
        torch.testing.assert_close(value(theirs), value(ours), rtol=0, atol=1e-14)


def test_no_two_of_them_are_the_same():
    programs = {name: program(name) for name in MEASUREMENTS}
    for name, ours in programs.items():
        alike = {other for other, theirs in programs.items() if theirs == ours}
        assert alike == {name}
        assert {o for o, theirs in programs.items() if theirs.marks == ours.marks} == {name}
        assert all(ours.difference(programs[other]) for other in programs if other != name)


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_measurements_are_values(name):
    ours = MEASUREMENTS[name]
    for theirs in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert theirs == ours and repr(theirs) == repr(ours)
        if not isinstance(ours, list):
            assert hash(theirs) == hash(ours)
    if hasattr(ours, "bind"):
        with pytest.raises((AttributeError, TypeError)):
            ours.qubits = [0]
        assert ours != "a" and ours != Probabilities([0, 1], interpret=lambda i: 0)


@pytest.mark.parametrize(
    "text",
    [
        "Probabilities()",
        "Probabilities(qubits=(1, 0), interpret='parity')",
        "Purity(qubits=(0,))",
        "Entropy(qubits=(0, 1))",
        "Entropy(qubits=(1,), base=2.0)",
        "State()",
    ],
)
def test_measurements_are_shown_as_they_are_made(text):
    assert repr(eval(text)) == text


def test_rounding_makes_no_other_measurement():
    target = random_statevector(4, seed=1).data
    pairs = [
        (Fidelity(target), Fidelity(target * (1 + 1e-13))),
        (CVaR(ENERGY, 0.3), CVaR((1 + 1e-13) * ENERGY, 0.3)),
        (CVaR(ENERGY, 0.3), CVaR(ENERGY[::-1], 0.3)),
    ]
    for one, other in pairs:
        a, b = (CircuitProgram(hybrid(), m, input_params=X) for m in (one, other))
        assert a == b and a.marks == b.marks
        assert one == other and hash(one) == hash(other)


def test_states_from_before_there_were_measurements_are_of_observables():
    state = program("observables").to_state()
    described = json.loads(state["program"])
    assert set(described) == {
        *("expanded", "parameters", "inputs", "weights", "shape", "observables")
    }


def test_functions_of_many_bits_cannot_be_written():
    wide = QuantumCircuit(21)
    wide.h(range(21))
    ours = CircuitProgram(wide, Probabilities(interpret=lambda i: i % 2, output_size=2))
    assert set(ours.marks) == set(program("all").marks)
    for write in (ours.to_state, lambda: pickle.dumps(ours)):
        with pytest.raises(StateDictError, match="an interpretation that is data.*'parity'"):
            write()


def test_state_dicts_and_checkpoints_tell_measurements_apart(tmp_path):
    def module(name: str, seed: int) -> TorchQuantumModule:
        return TorchQuantumModule(hybrid(), MEASUREMENTS[name], input_params=X, seed=seed)

    names = ["observables", "parity", "table", "variance", "tail", "entropy", "state"]
    for name in names:
        path, ours = tmp_path / name, module(name, 1)
        save_checkpoint(path, model=ours)
        same = module(name, 2)
        load_checkpoint(path, model=same)
        assert torch.equal(same.weight, ours.weight)
        other = module(names[names.index(name) - 1], 3)
        before = other.weight.clone()
        with pytest.raises(
            CheckpointError, match="they differ in (measurement|shape of outputs): "
        ):
            load_checkpoint(path, model=other)
        with pytest.raises(StateDictError, match="they differ in the measurement "):
            other.load_state_dict(ours.state_dict())
        assert torch.equal(other.weight, before)


# -- states that are damaged, or made to do harm -------------------------------------------------


def described(name: str, **changed: Any) -> dict[str, Any]:
    """A description with changed parts; those of its measurement as ``measurement__name``."""
    found = json.loads(program(name).to_state()["program"])
    for key, content in changed.items():
        *outer, last = key.split("__")
        place = found[outer[0]] if outer else found
        place[last] = content
    return found


def numbers(array: Any) -> str:
    return base64.b64encode(np.asarray(array, dtype=complex).tobytes()).decode()


WIDE = [["Z" * 60, 1.0]]
HOSTILE = {
    "unknown name": described("all", measurement__name="Everything"),
    "name of a class": described("all", measurement__name="Measurement"),
    "name that is a list": described("all", measurement__name=[]),
    "no measurement": described("all", measurement=5),
    "measurement of nothing": described("all", measurement={}),
    "settings that are none": described("entropy", measurement__settings=5),
    "more settings": described("all", measurement__settings={"sure": True}),
    "settings of the user's": described("all", measurement__settings={"qubits": [0]}),
    "no settings": described("entropy", measurement__settings={}),
    "base below one": described("entropy", measurement__settings={"qubits": [0], "base": 0.5}),
    "huge base": described("entropy", measurement__settings={"qubits": [0], "base": 10**400}),
    "qubit that is not there": described("purity", measurement__settings={"qubits": [2]}),
    "qubit by a truth value": described("purity", measurement__settings={"qubits": [True]}),
    "qubits of another circuit": described("all", qubits=[0, 2]),
    "fewer qubits": described("all", qubits=[0]),
    "qubits twice": described("all", qubits=[1, 1]),
    "qubits below zero": described("all", qubits=[0, -1]),
    "qubits of text": described("all", qubits="01"),
    "no qubits": described("all", qubits=[], shape=[1]),
    "many qubits": described("all", qubits=list(range(60)), shape=[2**60]),
    "other shape": described("all", shape=[2, 3]),
    "shape of a state": described("state", shape=[8]),
    "outputs that are none": described("table", interpretation={"outputs": [0.5] * 4, "size": 3}),
    "outputs below zero": described("table", interpretation={"outputs": [0, 0, 0, -1], "size": 3}),
    "outputs beyond": described("table", interpretation={"outputs": [0, 0, 0, 9], "size": 3}),
    "few outputs": described("table", interpretation={"outputs": [0, 1], "size": 3}),
    "a number of outputs": described("table", interpretation={"outputs": 5, "size": 3}),
    "huge size": described("table", interpretation={"outputs": [0] * 4, "size": 10**12}),
    "other size": described("table", interpretation={"outputs": [0] * 4, "size": 2}),
    "no interpretation": described("table", interpretation=5),
    "no operators": described("tail", measurement__operators=[]),
    "wide operators": described("tail", measurement__operators=[WIDE], qubits=list(range(60))),
    "operators with X": described("tail", measurement__operators=[[["XZ", 1.0]]]),
    "operators of text": described("tail", measurement__operators="ZZ"),
    "operators of one qubit": described("tail", measurement__operators=[[["Z", 1.0]]]),
    "no part": described("tail", measurement__settings={"alpha": 0}),
    "an interpreted tail": described("tail", interpretation={"outputs": "parity", "size": 2}),
    "one variance more": described("variance", shape=[3]),
    "no base64": described("fidelity", measurement__amplitudes="\x00!"),
    "half a number": described("fidelity", measurement__amplitudes="AAAA"),
    "not normalised": described("fidelity", measurement__amplitudes=numbers(np.ones(4))),
    "not finite": described("fidelity", measurement__amplitudes=numbers([np.nan, 0, 0, 0])),
    "other amplitudes": described("fidelity", measurement__amplitudes=numbers(np.eye(8)[0])),
    "other form": described("fidelity", measurement__shape=[2, 2]),
    "huge form": described("fidelity", measurement__shape=[10**400]),
    "a mixture of one": described(
        "fidelity of one", measurement__amplitudes=numbers(np.eye(2) / 2), measurement__shape=[2, 2]
    ),
    "no amplitudes": described("state", measurement__name="Fidelity"),
    "deep": described("tail", measurement__operators=json.loads("[" * 900 + "]" * 900)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_damaged_descriptions_are_refused(what):
    state = {**program("all").to_state(), "program": json.dumps(HOSTILE[what])}
    with pytest.raises(StateDictError, match="The saved program is damaged"):
        CircuitProgram.from_state(state)
    with pytest.raises(StateDictError, match="The saved program is damaged"):
        program("all").difference_from_state(state)


def test_reading_a_short_description_takes_little_memory():
    """The values of 25 qubits' outcomes would take 256 MiB, and twice that on the way."""
    circuit = QuantumCircuit(25)
    circuit.h(range(25))
    state = CircuitProgram(circuit, Probabilities(interpret="parity")).to_state()
    found = json.loads(state["program"])
    found["measurement"] = json.loads(program("tail").to_state()["program"])["measurement"]
    found["measurement"]["operators"] = [[["Z" * 25, 1.0]]]
    found |= {"interpretation": None, "shape": [1]}
    tracemalloc.start()
    read = CircuitProgram.from_state({**state, "program": json.dumps(found)})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(read.measurement, CVaR) and read.readout.size == 2**25
    assert peak < 1 << 24


def test_a_description_without_its_parts_is_refused():
    for name in ("table", "tail", "entropy", "fidelity", "variance"):
        complete = described(name)
        places = [complete, complete["measurement"]]
        for place in places:
            for part in [p for p in place if p not in ("measurement", "shape")]:
                kept = place.pop(part)
                state = {**program(name).to_state(), "program": json.dumps(complete)}
                with pytest.raises(StateDictError, match="The saved program is damaged"):
                    CircuitProgram.from_state(state)
                place[part] = kept
