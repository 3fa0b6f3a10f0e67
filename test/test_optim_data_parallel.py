# SPDX-License-Identifier: Apache-2.0
"""The optimizers of ``optim`` under DistributedDataParallel, two processes with halves of a batch.

Losses are means, so that what two processes average is what one process has of the whole batch.
Sums are taken in another order; 1e-12 is a hundred times their rounding after a few steps. Each
case is also run without DistributedDataParallel in the same two processes: then they are trainings
of their own, of different lengths, and must not wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from qiskit.circuit import ParameterVector, QuantumCircuit
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge.exceptions import ObjectiveError, OptimizerError
from qiskit_torch_bridge.optim import (
    QNSPSA,
    SPSA,
    FubiniStudyMetric,
    QuantumNaturalGradient,
    Rotosolve,
    ScipyMinimize,
)

ROWS, RANKS, STEPS = 6, 2, 3
WEIGHTS = [0.3, -0.8, 1.1]


def node() -> TorchQuantumModule:
    """Inputs, a controlled rotation and a shared weight."""
    x, w = ParameterVector("x", 2), ParameterVector("w", 3)
    circuit = QuantumCircuit(2)
    for q in range(2):
        circuit.ry(x[q], q)
        circuit.rx(w[q], q)
    circuit.crz(w[2], 0, 1)
    circuit.rx(x[0] + w[0], 1)
    return TorchQuantumModule(
        circuit, ["ZI", "XX"], input_params=x, initial_weights=WEIGHTS
    ).double()


def data() -> Tensor:
    return torch.linspace(-2, 1.5, 2 * ROWS, dtype=torch.float64).sin().reshape(ROWS, 2)


def loss_of(model: nn.Module, rows: Tensor) -> Tensor:
    return model(rows).square().mean() + model(rows).mean()


def energy_of(model: nn.Module, rows: Tensor) -> Tensor:
    """Linear in expectation values, as Rotosolve needs it."""
    return model(rows).mean()


class Training(NamedTuple):
    """What a process trains: a module, perhaps divided among processes, and its rows."""

    inner: TorchQuantumModule
    model: nn.Module
    rows: Tensor
    rank: int
    steps: int


def by_closure(make: Callable[[Any, int], Any], loss=loss_of, backward=False) -> Any:
    def run(t: Training) -> None:
        optimizer = make(t.inner, t.rank)

        def closure() -> Tensor:
            if backward:
                optimizer.zero_grad()
            value = loss(t.model, t.rows)
            if backward:
                value.backward()
            return value

        for _ in range(t.steps):
            optimizer.step(closure)

    return run


def by_gradient(make: Callable[[Any], Any], parts: int = 1) -> Any:
    """Gradients before the step, accumulated over parts of the rows."""

    def run(t: Training) -> None:
        optimizer = make(t.inner)
        for _ in range(t.steps):
            optimizer.zero_grad()
            for k, rows in enumerate(t.rows.chunk(parts)):
                divided = isinstance(t.model, DistributedDataParallel) and k < parts - 1
                with t.model.no_sync() if divided else nullcontext():
                    (t.model(rows).sin().mean() / parts).backward()
            optimizer.step()

    return run


def natural_by_parameters(inner: TorchQuantumModule) -> QuantumNaturalGradient:
    """A metric of its own on each process: that at the rows it has, by a function."""
    metric = FubiniStudyMetric(inner.program)
    seen: list[Tensor] = []
    inner.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    return QuantumNaturalGradient(
        inner.parameters(), metric=lambda w: metric(w, seen[-1].numpy()), damping=0.05
    )


def reloaded(*make: Callable[[], Any]) -> Any:
    """An optimizer that goes on from a state saved by each process, random states included."""
    optimizer = make[0]()
    optimizer.load_state_dict(make[-1]().state_dict())
    return optimizer


def calibrated(t: Training) -> None:
    optimizer = SPSA(t.inner, seed=t.rank)

    def closure() -> Tensor:
        return loss_of(t.model, t.rows)

    optimizer.calibrate(closure, steps=3)
    for _ in range(t.steps):
        optimizer.step(closure)


CASES: dict[str, Callable[[Training], None]] = {
    "natural gradient": by_gradient(lambda m: QuantumNaturalGradient(m, damping=0.05)),
    "natural gradient, accumulated": by_gradient(
        lambda m: QuantumNaturalGradient(m, damping=0.05), parts=3
    ),
    "natural gradient, reloaded": by_gradient(
        lambda m: reloaded(lambda: QuantumNaturalGradient(m, damping=0.05))
    ),
    "natural gradient, own metric": by_gradient(natural_by_parameters),
    "natural gradient, closure": by_closure(
        lambda m, rank: QuantumNaturalGradient(m, damping=0.05), backward=True
    ),
    "SPSA": by_closure(lambda m, rank: SPSA(m, seed=rank, resamplings=2)),
    "SPSA, blocking": by_closure(lambda m, rank: SPSA(m, seed=rank, lr=2.0, blocking=True)),
    "SPSA, reloaded": by_closure(
        lambda m, rank: reloaded(lambda: SPSA(m, seed=9), lambda: SPSA(m, seed=rank))
    ),
    "SPSA, calibrated": calibrated,
    "QNSPSA": by_closure(lambda m, rank: QNSPSA(m, seed=rank, metric_resamplings=2)),
    "Rotosolve": by_closure(lambda m, rank: Rotosolve(m), energy_of),
    "L-BFGS-B": by_closure(lambda m, rank: ScipyMinimize(m, max_iter=3)),
    "L-BFGS-B, backward": by_closure(lambda m, rank: ScipyMinimize(m, max_iter=3), backward=True),
    "COBYLA": by_closure(lambda m, rank: ScipyMinimize(m, "COBYLA", max_iter=10)),
    "Newton-CG": by_closure(lambda m, rank: ScipyMinimize(m, "Newton-CG", max_iter=2)),
    "trust-exact": by_closure(lambda m, rank: ScipyMinimize(m, "trust-exact", max_iter=2)),
}


def trained(case: str, rows: Tensor, rank: int = 0, steps: int = STEPS, divided: bool = False):
    inner = node()
    model = DistributedDataParallel(inner) if divided else inner
    CASES[case](Training(inner, model, rows, rank, steps))
    return inner.weight.detach().clone()


def _own_number(rank: int) -> int:
    return 1 + rank  # steps of a training of its own


def _natural_without_synchronisation(rank: int, rows: Tensor) -> Tensor:
    """All under ``no_sync``: gradients are those of one process, and so is the metric."""
    model = DistributedDataParallel(node())
    optimizer = QuantumNaturalGradient(model.module, damping=0.05)
    for _ in range(_own_number(rank)):
        optimizer.zero_grad()
        with model.no_sync():
            model(rows).sin().mean().backward()
        optimizer.step()
    return model.module.weight.detach().clone()


def _not_finite(rank: int, rows: Tensor) -> str:
    """Only the first process has a loss that is no number; both must hear of it."""
    model = DistributedDataParallel(node())
    optimizer = SPSA(model.module, seed=0)
    try:
        optimizer.step(lambda: loss_of(model, rows) * (np.nan if rank == 0 else 1.0))
    except ObjectiveError as error:
        return str(error)
    return "no error"


def _made_too_early(early: QuantumNaturalGradient, rows: Tensor) -> str:
    (module,) = early._module_of.values()
    model = DistributedDataParallel(module)
    loss_of(model, rows).backward()
    try:
        early.step()
    except OptimizerError as error:
        return str(error)
    return "no error"


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    early = QuantumNaturalGradient(node())
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS
    )
    rows = data()[rank::RANKS]
    found: dict[str, Any] = {}
    for case in CASES:
        found[case] = trained(case, rows, rank, divided=True)
        found[f"{case}, alone"] = trained(case, rows, rank, _own_number(rank))
    found["no_sync"] = _natural_without_synchronisation(rank, rows)
    found["not finite"] = _not_finite(rank, rows)
    found["too early"] = _made_too_early(early, rows)
    torch.save(found, Path(folder) / f"found-{rank}")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the processes have come to, one dictionary for each."""
    if not dist.is_available():
        pytest.skip("this PyTorch has no distributed package")
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(_worker, args=(str(folder),), nprocs=RANKS)
    return [torch.load(folder / f"found-{rank}", weights_only=True) for rank in range(RANKS)]


gloo = pytest.mark.filterwarnings("ignore::UserWarning")  # it looks for a network interface


@gloo
@pytest.mark.parametrize("case", CASES)
def test_two_processes_are_one_on_the_whole_batch(case, found) -> None:
    expected = trained(case, torch.cat([data()[rank::RANKS] for rank in range(RANKS)]))
    start = torch.tensor(WEIGHTS, dtype=torch.float64)
    assert (expected - start).abs().max() > 1e-3
    assert torch.equal(found[0][case], found[1][case])
    torch.testing.assert_close(found[0][case], expected, rtol=0, atol=1e-12)


@gloo
@pytest.mark.parametrize("case", CASES)
def test_trainings_of_their_own_stay_their_own(case, found) -> None:
    """They have taken different numbers of steps, and are what they would be alone, to the bit."""
    for rank in range(RANKS):
        expected = trained(case, data()[rank::RANKS], rank, _own_number(rank))
        assert torch.equal(found[rank][f"{case}, alone"], expected)


@gloo
def test_without_synchronisation_the_metric_stays_that_of_the_process(found) -> None:
    for rank in range(RANKS):
        inner, rows = node(), data()[rank::RANKS]
        optimizer = QuantumNaturalGradient(inner, damping=0.05)
        for _ in range(_own_number(rank)):
            optimizer.zero_grad()
            inner(rows).sin().mean().backward()
            optimizer.step()
        assert torch.equal(found[rank]["no_sync"], inner.weight.detach())


@gloo
def test_all_processes_raise_where_one_loss_is_not_finite(found) -> None:
    for rank in range(RANKS):
        assert found[rank]["not finite"].startswith("The loss is nan")


@gloo
def test_an_optimizer_made_before_the_processes_met_says_so(found) -> None:
    for rank in range(RANKS):
        assert "after init_process_group" in found[rank]["too early"]
