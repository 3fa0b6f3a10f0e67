# SPDX-License-Identifier: Apache-2.0
"""Training in several processes and threads gives what training in one gives."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from qiskit.circuit import ParameterVector, QuantumCircuit
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from qiskit_torch_bridge import TorchQuantumModule

STEPS = 4
ROWS = 6
THREADS = 8


def network() -> nn.Module:
    """A layer, a quantum node and a layer, in double precision, always the same."""
    x, w = ParameterVector("x", 2), ParameterVector("w", 3)
    circuit = QuantumCircuit(2)
    for q in range(2):
        circuit.ry(x[q], q)
        circuit.rx(w[q], q)
    circuit.cx(0, 1)
    circuit.crz(w[2], 0, 1)
    circuit.rx(x[0] + w[0], 1)
    torch.manual_seed(3)
    node = TorchQuantumModule(circuit, ["ZI", "XX"], input_params=x, seed=1)
    return nn.Sequential(nn.Linear(3, 2), node, nn.Linear(2, 1)).double()


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(ROWS, 3, generator=generator, dtype=torch.float64)
    return inputs, inputs.sin().sum(1, keepdim=True)


def trained(model: nn.Module, inputs: Tensor, targets: Tensor) -> list[Tensor]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(STEPS):
        optimizer.zero_grad()
        (model(inputs) - targets).square().mean().backward()
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def _worker(rank: int, size: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size
    )
    inputs, targets = data()
    model = DistributedDataParallel(network())
    weights = trained(model, inputs[rank::size], targets[rank::size])
    torch.save(weights, Path(folder) / f"weights-{rank}")
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="this PyTorch has no distributed package")
@pytest.mark.filterwarnings("ignore::UserWarning")  # gloo looks for a network interface
def test_two_processes_train_like_one(tmp_path: Path) -> None:
    """Gradients are averaged over halves of the batch, in another order: rounding may differ."""
    expected = trained(network(), *data())
    mp.spawn(_worker, args=(2, str(tmp_path)), nprocs=2)
    for rank in range(2):
        found = torch.load(tmp_path / f"weights-{rank}", weights_only=True)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def in_threads(work: Any) -> list[Any]:
    found: dict[int, Any] = {}
    start = threading.Barrier(THREADS)

    def run(number: int) -> None:
        start.wait()
        found[number] = work(number)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[i] for i in range(THREADS)]


def test_eight_threads_with_a_module_each() -> None:
    models = [network() for _ in range(THREADS)]
    expected = trained(network(), *data())
    for weights in in_threads(lambda i: trained(models[i], *data())):
        for a, b in zip(weights, expected, strict=True):
            assert torch.equal(a, b)


def test_eight_threads_with_one_module() -> None:
    model, (inputs, _) = network(), data()

    def gradients(number: int) -> list[Tensor]:
        loss = model(inputs * (number + 1)).sum()
        return list(torch.autograd.grad(loss, list(model.parameters())))

    expected = [gradients(i) for i in range(THREADS)]
    for found, wanted in zip(in_threads(gradients), expected, strict=True):
        for a, b in zip(found, wanted, strict=True):
            assert torch.equal(a, b)
