# SPDX-License-Identifier: Apache-2.0
"""A training goes on from a checkpoint to the last bit, or not at all."""

from __future__ import annotations

import copy
import errno
import io
import os
import random
import time
from collections import Counter
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from circuits import hybrid
from moments import interrupted_before_each_line
from qiskit.primitives import StatevectorEstimator, StatevectorSampler
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer import AerSimulator
from qiskit_algorithms.state_fidelities import ComputeUncompute
from trainings import OPTIMIZERS, Training, node

from qiskit_torch_bridge import Execution, TorchQuantumModule, load_checkpoint, save_checkpoint
from qiskit_torch_bridge.checkpoint import atomic_file, random_states, save_and_load, serialization
from qiskit_torch_bridge.exceptions import CheckpointError
from qiskit_torch_bridge.optim import QNSPSA

STEPS, SAVED = 7, 4


def same(a, b):
    """Whether two states are equal to the last bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return a == b


def everything(training):
    """All that a checkpoint holds of a training."""
    generators = random_states.find_generators(training.model, [training.optimizer])
    return copy.deepcopy(
        {
            "model": dict(training.model.state_dict()),
            "optimizer": training.optimizer.state_dict(),
            "scheduler": training.scheduler.state_dict(),
            "random": random_states.get_global_states(),
            "own": [random_states.get_state(g, "") for g in training.parts["generators"]],
            "noise": {place: random_states.get_state(g, "") for place, g in generators.items()},
        }
    )


@pytest.fixture
def saved(tmp_path):
    """A checkpoint in the middle of an epoch."""
    training = Training()
    for _ in range(SAVED):
        training.step()
    training.save(tmp_path / "run.ckpt")
    return tmp_path / "run.ckpt"


@pytest.fixture
def other():
    """Another training of the same kind, one step on."""
    training = Training(seed=5)
    training.step()
    return training


def refused(path, training, message, **options):
    """The checkpoint is refused with a message, and nothing has changed."""
    before = everything(training)
    with pytest.raises(CheckpointError, match=message) as error:
        training.load(path, **options)
    assert same(before, everything(training))
    return error.value


# To the last bit


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_training_goes_on_to_the_last_bit(kind, tmp_path):
    path = tmp_path / "run.ckpt"
    undisturbed = Training(kind)
    for step in range(STEPS):
        if step == SAVED:
            undisturbed.save(path)
        undisturbed.step()
    resumed = Training(kind, seed=7)
    resumed.step()
    resumed.load(path)
    assert resumed.cursor["epoch"] == 2 and resumed.cursor["index"] == 4
    del resumed.losses[:]
    for _ in range(STEPS - SAVED):
        resumed.step()
    assert resumed.losses == undisturbed.losses[SAVED:]
    assert same(everything(resumed), everything(undisturbed))


ESTIMATORS = {
    "batched": lambda seed: {"shots": 50, "seed": seed},
    "unseeded": lambda seed: {"shots": 50},
    "aer": lambda seed: {"backend": AerSimulator(), "shots": 50, "seed": seed},
    "generic": lambda seed: {"backend": GenericBackendV2(2, seed=1), "shots": 50, "seed": seed},
    "qiskit": lambda seed: {
        "estimator": StatevectorEstimator(seed=np.random.default_rng(seed)),
        "precision": 0.1,
    },
    "spsa": lambda seed: {"gradient": "spsa", "shots": 50, "seed": seed},
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_noise_goes_on(name, tmp_path):
    made = ESTIMATORS[name]

    def evaluated(module):
        module.zero_grad()
        y = module(torch.tensor([[0.3, 0.4], [0.5, 0.6]]))
        y.sum().backward()
        return y.detach().clone(), module.weight.grad.clone()

    module, again = (node(initial_weights=[0.1, 0.2, 0.3], **made(seed)) for seed in (1, 2))
    evaluated(module)
    save_checkpoint(tmp_path / "noise", model=module)
    expected = [evaluated(module) for _ in range(2)]
    assert not same(expected[0], expected[1])
    load_checkpoint(tmp_path / "noise", model=again)
    assert same([evaluated(again) for _ in range(2)], expected)


def test_generators_of_a_metric_go_on(tmp_path):
    def made(seed):
        module = node(initial_weights=[0.1, 0.2, 0.3])
        sampler = StatevectorSampler(seed=np.random.default_rng(seed))
        return module, QNSPSA(module, seed=seed, fidelity=ComputeUncompute(sampler))

    def step(module, optimizer):
        optimizer.step(lambda: module(torch.tensor([[0.3, 0.4]])).sum())
        return module.weight.detach().clone()

    module, optimizer = made(1)
    step(module, optimizer)
    save_checkpoint(tmp_path / "metric", model=module, optimizer=optimizer)
    expected = [step(module, optimizer) for _ in range(2)]
    module, optimizer = made(2)
    load_checkpoint(tmp_path / "metric", model=module, optimizer=optimizer)
    assert same([step(module, optimizer) for _ in range(2)], expected)


@pytest.mark.parametrize(
    "generator",
    [
        torch.Generator(),
        random.Random(1),
        np.random.RandomState(1),
        *(
            np.random.Generator(getattr(np.random, name)(1))
            for name in ("PCG64", "PCG64DXSM", "Philox", "SFC64", "MT19937")
        ),
    ],
    ids=lambda g: random_states.get_state(g, "")["kind"],
)
def test_every_kind_of_generator_goes_on(generator, tmp_path):
    def draw():
        if isinstance(generator, torch.Generator):
            return torch.rand(3, generator=generator).tolist()
        if isinstance(generator, random.Random):
            return [generator.gauss(0, 1) for _ in range(3)]
        normal = getattr(generator, "standard_normal", None) or generator.normal
        whole = getattr(generator, "integers", None) or generator.randint
        return [*normal(3).tolist(), int(whole(2**31))]

    model, path = torch.nn.Linear(1, 1), tmp_path / "generator"
    draw()
    save_checkpoint(path, model=model, generators=generator)
    expected = draw()
    load_checkpoint(path, model=model, generators=[generator])
    assert draw() == expected
    with pytest.raises(CheckpointError, match="Make the same generators"):
        load_checkpoint(path, model=model, generators=[np.random.Generator(_Other())])


class _Other(np.random.PCG64):
    """A kind that no checkpoint here has."""


def test_how_modules_were_evaluated_can_be_read_back(tmp_path):
    def made(**options):
        node = TorchQuantumModule(hybrid(), "ZZ", initial_weights=[0.1] * 5, **options)
        return torch.nn.ModuleDict({"node": node})

    model = made(shots=100, seed=7, gradient="aqgd")
    save_checkpoint(tmp_path / "run", model=model)
    loaded = load_checkpoint(tmp_path / "run", model=made(), only_weights=True)
    assert loaded.executions == {"node": "Execution(gradient='aqgd', shots=100, seed=7)"}
    assert eval(loaded.executions["node"]) == model["node"].execution
    assert made()["node"].execution == Execution()


def test_several_optimizers_schedulers_and_all_that_is_plain(tmp_path):
    def made():
        model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
        optimizers = [torch.optim.Adam(m.parameters()) for m in model]
        first, second = optimizers
        of = torch.optim.lr_scheduler
        return model, optimizers, [of.LinearLR(first), of.MultiStepLR(second, [2, 3, 3])]

    model, optimizers, schedulers = made()
    model(torch.randn(4, 2)).sum().backward()
    for part in (*optimizers, *schedulers):
        part.step()
    optimizers[1].param_groups[0]["lr"] = np.float64(0.25)
    extra = {"names": ["a", b"b", None], 3: (1, 2.5, 1j, True), "t": torch.eye(2, dtype=torch.half)}
    path = tmp_path / "several"
    save_checkpoint(
        path, model=model, optimizer=optimizers, scheduler=schedulers, extra=extra, step=9,
        cursor=(np.int64(3), 2**200),
    )  # fmt: skip
    new_model, new_optimizers, new_schedulers = made()
    loaded = load_checkpoint(
        path, model=new_model, optimizer=new_optimizers, scheduler=new_schedulers
    )
    assert loaded.cursor == (3, 2**200) and same(loaded.extra, extra) and loaded.step == 9
    assert loaded.written_by["torch"] == version("torch") and loaded.journal_position is None
    assert loaded.executions == {}  # there is no quantum module
    before, after = [model, *optimizers, *schedulers], [new_model, *new_optimizers, *new_schedulers]
    for old, new in zip(before, after, strict=True):
        assert same(old.state_dict(), new.state_dict())
    assert type(new_schedulers[1].milestones) is Counter


def test_a_journal_is_set_back(tmp_path):
    class Journal:
        position = 3

    journal, model, path = Journal(), torch.nn.Linear(1, 1), tmp_path / "journal"
    save_checkpoint(path, model=model, journal=journal)
    journal.position = 8
    assert load_checkpoint(path, model=model, journal=journal).journal_position == 3
    assert journal.position == 3
    with pytest.raises(CheckpointError, match="saved with a journal, and none was given"):
        load_checkpoint(path, model=model)
    with pytest.raises(CheckpointError, match="whole number as its position"):
        save_checkpoint(path, model=model, journal=object())
    save_checkpoint(path, model=model)
    with pytest.raises(CheckpointError, match="saved without a journal"):
        load_checkpoint(path, model=model, journal=journal)


def test_weights_alone_change_nothing_else(saved, other):
    expected = Training()
    expected.load(saved)
    before = everything(other)
    load_checkpoint(saved, model=other.model, only_weights=True)
    after = everything(other)
    assert same(after.pop("model"), dict(expected.model.state_dict()))
    del before["model"]
    assert same(before, after)
    with pytest.raises(CheckpointError, match="leave out only_weights"):
        other.load(saved, only_weights=True)


def test_cuda_states_are_kept_where_there_are_such_devices(tmp_path, monkeypatch):
    states, model, path = [torch.ones(16, dtype=torch.uint8)], torch.nn.Linear(1, 1), tmp_path / "c"
    put = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: states)
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", put.append)
    save_checkpoint(path, model=model)
    load_checkpoint(path, model=model)
    assert same(put, [states])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning, match="random states of 1 CUDA devices; here are 0"):
        load_checkpoint(path, model=model)
    assert len(put) == 1


# Damaged files


def test_a_truncated_file_is_refused(saved, other):
    whole = saved.read_bytes()
    header = atomic_file.HEADER.size
    lengths = {0, 1, 7, 8, 11, 12, 19, 20, header - 1, header, header + 1, len(whole) - 1}
    lengths |= set(np.linspace(header, len(whole) - 1, 12, dtype=int).tolist())
    for length in lengths:
        saved.write_bytes(whole[:length])
        error = refused(saved, other, "Restore it from a copy")
        assert str(saved) in str(error)
    saved.write_bytes(whole + b"\0")
    refused(saved, other, "is damaged")
    saved.write_bytes(whole)
    other.load(saved)


def test_any_flipped_bit_is_noticed(saved, other):
    whole, flips = saved.read_bytes(), random.Random(3)
    header = [8 * byte + flips.randrange(8) for byte in range(atomic_file.HEADER.size)]
    for bit in [*header, *(flips.randrange(8 * len(whole)) for _ in range(60))]:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        saved.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="damaged"):
            atomic_file.read(saved)
    refused(saved, other, "damaged")


def test_a_newer_version_and_foreign_files_are_refused(saved, other):
    payload = atomic_file.read(saved)
    saved.write_bytes(atomic_file.make_header(payload, version=atomic_file.VERSION + 1) + payload)
    refused(saved, other, "has format 3; this release reads format 2. Upgrade")
    torch.save(other.model.state_dict(), saved)
    refused(saved, other, "does not begin like one")
    saved.write_bytes(atomic_file.make_header(payload, version=1) + payload)
    refused(saved, other, r"has format 1.*read\(\)\[52:\].*'_extra_state'")
    for payload, message in (
        (b"no tensors", "damaged"),
        (serialization.pack({"a": 1}), "other parts"),
    ):
        saved.write_bytes(atomic_file.make_header(payload) + payload)
        refused(saved, other, message)
    saved.unlink()
    refused(saved, other, "only if the file exists")


def _bytes_of(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


class _Executed:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_nothing_in_a_file_is_executed(saved, other, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    payload = _bytes_of(_Executed())
    saved.write_bytes(atomic_file.make_header(payload) + payload)
    refused(saved, other, "damaged")
    assert not Path("executed").exists()


# Other trainings


def test_another_model_is_refused(saved, other):
    for layers, message in [
        ([torch.nn.Linear(4, 2), *other.model[1:]], "0.weight is float32 of shape"),
        ([*other.model[:3], torch.nn.Linear(1, 1, bias=False)], "not in the model: 3.bias"),
        ([*other.model, torch.nn.Linear(1, 1)], "Not in the checkpoint: 4.weight, 4.bias"),
        (
            [*other.model[:2], node("XX", shots=40, seed=1), other.model[3]],
            "they differ in observables",
        ),
        ([*copy.deepcopy(other.model).double()], "is float64 of shape"),
    ]:
        refused(saved, other, message, model=torch.nn.Sequential(*layers))


def test_another_optimizer_or_scheduler_is_refused(saved, other):
    parameters = [*other.model.parameters()]
    adam, exponential = torch.optim.Adam, torch.optim.lr_scheduler.ExponentialLR
    for options, message in [
        ({"optimizer": torch.optim.SGD(parameters)}, "adam.Adam; here it is a torch.optim.sgd.SGD"),
        ({"optimizer": adam(parameters[::-1])}, "Give it the parameters in the order"),
        ({"optimizer": adam(parameters[1:])}, "Give it the parameters in the order"),
        ({"optimizer": None}, "states of 1 optimizers; 0 were given"),
        ({"optimizer": [other.optimizer] * 2}, "states of 1 optimizers; 2 were given"),
        ({"scheduler": None}, "states of 1 schedulers"),
        ({"scheduler": exponential(other.optimizer, 0.9)}, "StepLR; here it is"),
        ({"generators": [other.shuffling]}, "states of 2 generators; 1 were given"),
        ({"generators": [other.noise, other.shuffling]}, "state of a torch.Generator on cpu"),
        ({"generators": [other.shuffling, 7]}, "to be a torch.Generator, numpy"),
        ({"optimizer": "adam"}, "state_dict"),
    ]:
        refused(saved, other, message, **options)


def test_another_estimator_is_refused_unless_weights_alone_are_wanted(saved, other):
    for options in ({"estimator": StatevectorEstimator()}, {"backend": AerSimulator(), "seed": 1}):
        other.model[2] = node(**options)
        refused(saved, other, "same estimator or backend")
        load_checkpoint(saved, model=other.model, only_weights=True)


@pytest.mark.parametrize("times", [1, 2])
def test_a_refusal_in_the_middle_sets_everything_back(saved, other, monkeypatch, times):
    original, left = other.scheduler.load_state_dict, [times]

    def refuse(state):
        if left[0]:
            left[0] -= 1
            raise RuntimeError("not today")
        original(state)

    monkeypatch.setattr(other.scheduler, "load_state_dict", refuse)
    after = ["Everything was set back", "1 of 7 states could not be set back"][times - 1]
    refused(saved, other, f"was refused: RuntimeError: not today. {after}")


def test_an_interrupt_before_any_line_sets_everything_back(saved, other):
    before = everything(other)
    interrupts = interrupted_before_each_line(
        [save_and_load.change_all], lambda: partial(other.load, saved)
    )
    found = [same(before, everything(other)) for _ in interrupts]
    assert all(found) and len(found) > 2 * 7  # two lines for each of seven states
    assert not same(before, everything(other))


def test_what_cannot_be_kept_safely_is_named(tmp_path):
    class Point(tuple):
        pass

    model = torch.nn.Linear(1, 1)
    for value, message in [
        ({"a": [1, object()]}, r"cursor\['a'\]\[1\] to consist of"),
        (np.arange(3), "torch.from_numpy"),
        (Point((1, 2)), r"tuple\(...\)"),
        ({object(): 1}, "keys of cursor"),
        ({1, 2}, "builtins.set"),
    ]:
        with pytest.raises(CheckpointError, match=message):
            save_checkpoint(tmp_path / "plain", model=model, cursor=value)
    with pytest.raises(CheckpointError, match=r"torch.nn.Module; got OrderedDict"):
        save_checkpoint(tmp_path / "plain", model=model.state_dict())
    with pytest.raises(CheckpointError, match="saved without being named"):
        save_checkpoint(tmp_path / "plain", model=model, generators=[torch])
    assert not [*tmp_path.iterdir()]


# Writing


def test_an_older_checkpoint_survives_a_failure_to_write(saved, other, monkeypatch, tmp_path):
    whole = saved.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(CheckpointError, match="No space left on device"):
            other.save(saved)
    assert saved.read_bytes() == whole and [*tmp_path.iterdir()] == [saved]
    with pytest.raises(CheckpointError, match="Check that the folder exists"):
        other.save(tmp_path / "nowhere" / "run.ckpt")


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # Python closes it
def test_an_interrupt_before_any_line_leaves_one_whole_file(saved, other, tmp_path):
    old = saved.read_bytes()
    interrupts = interrupted_before_each_line(
        [atomic_file.write], lambda: partial(other.save, saved)
    )
    for _ in interrupts:
        assert [*tmp_path.iterdir()] == [saved]  # nothing is left over
        atomic_file.read(saved)
    assert saved.read_bytes() != old


def test_writing_is_made_durable_in_order(saved, other, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *a, n=name, f=original: (calls.append((n, a)), f(*a))[1]
        )
    other.save(saved)
    assert [name for name, _ in calls] == ["fsync", "replace", "fsync"]
    temporary, target = calls[1][1]
    assert Path(temporary).parent == Path(target).parent == saved.parent


def test_leftovers_go_when_nobody_can_be_writing_them(saved, other):
    old, new = (saved.with_name(f".{saved.name}.{i}.tmp") for i in "ab")
    for path in (old, new):
        path.write_bytes(b"")
    hours_ago = time.time() - 2 * atomic_file.FORGOTTEN
    os.utime(old, (hours_ago, hours_ago))
    other.save(saved)
    assert not old.exists() and new.exists()


def test_a_link_stays_a_link(saved, other, tmp_path):
    link = tmp_path / "latest"
    link.symlink_to(saved)
    whole = saved.read_bytes()
    other.save(link)
    assert link.is_symlink() and saved.read_bytes() != whole


def test_saving_draws_no_random_number(other, tmp_path):
    before = everything(other)
    other.save(tmp_path / "run.ckpt")
    assert same(before, everything(other))
