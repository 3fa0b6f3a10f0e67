# SPDX-License-Identifier: Apache-2.0
"""A state dict is tensors by name, for any tool, and knows its circuit where tools let it."""

from __future__ import annotations

import copy
import io
from collections import OrderedDict

import pytest
import torch
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit.library import PauliEvolutionGate
from qiskit.quantum_info import SparsePauliOp
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from qiskit_torch_bridge import CircuitProgram, TorchQuantumModule, load_checkpoint, save_checkpoint
from qiskit_torch_bridge.exceptions import CheckpointError, StateDictError
from qiskit_torch_bridge.program.program_state import difference_of_marks

MARKS = {
    "inputs": "2fe4f815b61d5b4827fbafd85ee1c329",
    "weights": "32ed50970160a01780892264387703a1",
    "observables": "506366495c20b0e348c4573b915bc9d2-d01b7574103faa656f8930b5f815bcf2",
    "circuit": "72cef5c85f135d8699dcc59dd94d863f-ecdfd3ba07eecf522615332550f85876",
}


def circuit(scale=2.0):
    """Made anew each time, as by the same script in another process."""
    x, w = Parameter("x"), ParameterVector("w", 3)
    made = QuantumCircuit(2)
    made.ry(x, 0)
    made.append(PauliEvolutionGate(SparsePauliOp(["XX", "ZZ"], [0.3, 0.7]), w[0]), [0, 1])
    made.crx(scale * w[1] / (w[2] + 3), 0, 1)
    return made, x


def node(scale=2.0, observables=("ZI", "XX"), seed=1, **options):
    made, x = circuit(scale)
    return TorchQuantumModule(made, list(observables), input_params=[x], seed=seed, **options)


def model(seed=1, **options):
    torch.manual_seed(seed)
    quantum = node(seed=seed, **options)
    return torch.nn.Sequential(torch.nn.Linear(1, 1), quantum, torch.nn.BatchNorm1d(2))


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def equal(a, b):
    """Whether two models hold the same numbers."""
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("made", [node, model])
def test_it_holds_tensors_and_nothing_else(made):
    state = made().state_dict()
    assert all(type(value) is torch.Tensor for value in state.values())
    assert sum(v.numel() for v in state.values()) == sum(
        t.numel() for t in (*made().parameters(), *made().buffers())
    )
    keys = {k for k in state if "." not in k or k.startswith("1.")}
    assert keys == {"weight" if made is node else "1.weight"}


TOOLS = {
    "as it is": lambda state: state,
    "moved": lambda state: {k: v.cpu() for k, v in state.items()},
    "in double precision": lambda state: {k: v.double() for k, v in state.items()},
    "from a file": through_a_file,
    "in order": lambda state: OrderedDict(sorted(state.items())),
    "flattened and back": lambda state: {
        k: v.flatten().clone().reshape(v.shape) for k, v in state.items()
    },
}


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("assign", [False, True])
def test_it_is_loaded_strictly_whatever_a_tool_made_of_it(tool, assign):
    ours, other = model(seed=1), model(seed=2)
    assert not equal(ours, other)
    loaded = other.load_state_dict(TOOLS[tool](ours.state_dict()), strict=True, assign=assign)
    assert not loaded.missing_keys and not loaded.unexpected_keys
    expected, found = ours.state_dict(), other.state_dict()
    assert all(torch.equal(expected[k].double(), found[k].double()) for k in expected)


def test_the_contract_of_safetensors(tmp_path):
    """A mapping of text to contiguous tensors that share no memory, and back."""
    state = model().state_dict()
    assert all(type(k) is str and v.is_contiguous() for k, v in state.items())
    assert len({v.untyped_storage().data_ptr() for v in state.values()}) == len(state)
    stored = {k: (v.dtype, v.shape, v.numpy().tobytes()) for k, v in state.items()}
    loaded = {
        k: torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape)
        for k, (dtype, shape, data) in stored.items()
    }
    other = model(seed=2)
    other.load_state_dict(loaded)
    assert equal(other, model())


def test_averages():
    a, b, mean = model(seed=1), model(seed=2), model(seed=3)
    s, t = a.state_dict(), b.state_dict()
    mean.load_state_dict({k: 0.005 * v + 0.995 * t[k] for k, v in s.items()})
    expected = 0.005 * a[1].weight + 0.995 * b[1].weight
    torch.testing.assert_close(mean[1].weight, expected, rtol=0, atol=0)
    clients = [s, t, s]
    mean.load_state_dict(
        {k: torch.stack([c[k].double() for c in clients]).mean(0) for k in clients[0]}
    )
    expected = (2 * a[1].weight.double() + b[1].weight.double()) / 3
    torch.testing.assert_close(mean[1].weight.double(), expected, rtol=0, atol=1e-6)

    averaged = AveragedModel(a, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for source in (a, b):
        averaged.update_parameters(source)
    expected = 0.9 * a[1].weight + 0.1 * b[1].weight
    torch.testing.assert_close(averaged.module[1].weight, expected, rtol=0, atol=1e-6)
    again = AveragedModel(model(seed=3))
    again.load_state_dict(through_a_file(averaged.state_dict()))
    assert equal(again, averaged)


def test_other_places_in_a_model():
    wrapped = torch.nn.ModuleDict({"module": model(seed=1)})  # as of DataParallel
    state = through_a_file(wrapped.state_dict())
    torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    plain = model(seed=2)
    plain.load_state_dict(state)
    assert equal(plain, wrapped["module"])
    with pytest.raises(StateDictError):
        model(scale=2.1).load_state_dict(state)

    normed = weight_norm(node(seed=1), dim=None)
    assert parametrize.is_parametrized(normed)
    other = weight_norm(node(seed=2), dim=None)
    other.load_state_dict(through_a_file(normed.state_dict()))
    torch.testing.assert_close(other.weight, normed.weight, rtol=0, atol=0)
    copied = copy.deepcopy(model(seed=1))
    copied.load_state_dict(model(seed=2).state_dict())
    assert equal(copied, model(seed=2))


@pytest.mark.filterwarnings("ignore:torch.distributed is")
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")  # by itself, in PyTorch 2.5
def test_distributed_checkpoints(tmp_path):
    from torch.distributed import checkpoint

    ours, other = model(seed=1), model(seed=2)
    checkpoint.save(ours.state_dict(), checkpoint_id=tmp_path / "all")
    state = other.state_dict()
    checkpoint.load(state, checkpoint_id=tmp_path / "all")
    other.load_state_dict(state)
    assert equal(ours, other)


def renamed():
    made, x = circuit()
    names = {p: Parameter(p.name.replace("w", "u")) for p in made.parameters if p != x}
    return TorchQuantumModule(made.assign_parameters(names), ["ZI", "XX"], input_params=[x])


OTHERS = {
    "the circuit's gates or angles": lambda: node(scale=2.01),
    "the measurement": lambda: node(observables=("ZI", "XY")),
    "the inputs": lambda: TorchQuantumModule(circuit()[0], ["ZI", "XX"]),
    "the weights": renamed,
}


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("strict", [True, False])
def test_another_programs_is_refused_where_that_is_known(what, strict):
    ours, other = node(seed=1), OTHERS[what]()
    before = ours.weight.detach().clone()
    state = through_a_file(other.state_dict())
    with pytest.raises(StateDictError, match=f"another program; they differ in {what}"):
        ours.load_state_dict(state, strict=strict)
    assert torch.equal(ours.weight, before)
    if ours.weight.shape == other.weight.shape:
        ours.load_state_dict(dict(state))  # of bare tensors nothing is known
        assert torch.equal(ours.weight, other.weight)


def test_marks_are_the_same_everywhere():
    """In every process, on every version of Qiskit: these were made by another one."""
    assert node().program.marks == MARKS
    assert difference_of_marks(node(scale=2.0 + 1e-13).program.marks, MARKS) is None
    reordered = SparsePauliOp(["XX", "YY", "ZI"], [1.0, 0.0, 0.5])
    a, b = node(observables=[reordered]), node(observables=[reordered[::-1].simplify()])
    assert difference_of_marks(a.program.marks, b.program.marks) is None
    tiny, other = (node(observables=[SparsePauliOp("ZI", c)]) for c in (1e-14, 1.001e-14))
    assert difference_of_marks(tiny.program.marks, other.program.marks) == "the measurement"


@pytest.mark.parametrize(
    "marks", [None, 3, "text", [], {}, {"circuit": 5}, {"circuit": None, "new": "part"}]
)
def test_marks_that_say_nothing_refuse_nothing(marks):
    ours, state = node(seed=1), node(seed=2).state_dict()
    state._metadata[""]["marks"] = marks
    ours.load_state_dict(state)
    assert torch.equal(ours.weight, state["weight"])


def test_a_state_dict_of_an_earlier_release_says_how_to_load_its_weights():
    ours, other = model(seed=1), model(seed=2)
    extra = {"version": 1, "circuit": torch.zeros(3), "program": "{}"}
    state = {**other.state_dict(), "1._extra_state": extra}
    before = copy.deepcopy(ours)
    for strict in (True, False):
        with pytest.raises(StateDictError, match="not k.endswith"):
            ours.load_state_dict(state, strict=strict)
        assert torch.equal(ours[1].weight, before[1].weight)
    ours.load_state_dict({k: v for k, v in state.items() if not k.endswith("_extra_state")})
    assert equal(ours, other)


def test_a_subclass_may_have_an_extra_state_of_its_own():
    class Counted(TorchQuantumModule):
        def get_extra_state(self):
            return {"count": 3}

        def set_extra_state(self, state):
            self.count = state["count"]

    made, x = circuit()
    ours, other = (Counted(made, ["ZI", "XX"], input_params=[x], seed=seed) for seed in (1, 2))
    ours.load_state_dict(through_a_file(other.state_dict()))
    assert ours.count == 3 and torch.equal(ours.weight, other.weight)


def test_the_circuit_travels_in_checkpoints(tmp_path):
    from qiskit_torch_bridge.checkpoint import atomic_file, serialization

    path, ours, other = tmp_path / "run", model(seed=1), model(seed=2)
    save_checkpoint(path, model=ours)
    program = serialization.unpack(atomic_file.read(path))["programs"]["1"]
    assert CircuitProgram.from_state(program).difference(ours[1].program) is None
    load_checkpoint(path, model=other)
    assert equal(ours, other)
    with pytest.raises(CheckpointError, match=r"in 1: .*differ in .*gates or angles"):
        load_checkpoint(path, model=model(scale=2.01))
    with pytest.raises(CheckpointError, match="in 1: .*differ in observables: XY against XX"):
        load_checkpoint(path, model=model(observables=("ZI", "XY")))


def test_a_checkpoint_is_understood_where_a_circuit_is_taken_apart_otherwise(tmp_path, monkeypatch):
    """Another version of Qiskit may mark the same circuit in another way: then it is compared."""
    path, ours, other = tmp_path / "run", model(seed=1), model(seed=2)
    with monkeypatch.context() as patched:
        marks = {**ours[1].program.marks, "circuit": "0" * 32 + "-" + "1" * 32}
        patched.setitem(ours[1].program.__dict__, "marks", marks)
        save_checkpoint(path, model=ours)
    load_checkpoint(path, model=other)
    assert equal(ours, other)
