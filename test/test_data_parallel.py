# SPDX-License-Identifier: Apache-2.0
"""Training in several processes and threads gives what training in one gives."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from documented import code_with
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


@pytest.mark.skipif(not dist.is_available(), reason="this PyTorch has no distributed package")
def test_the_documented_script_trains_under_torchrun(tmp_path: Path) -> None:
    """The script as the how-to shows it, in two processes that torchrun starts."""
    script = code_with("# train.py", "how-tos/use-several-backends.rst")
    (tmp_path / "train.py").write_text(script)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "train.py"]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    words, loss = done.stdout.strip().split(", loss ")  # printed once
    assert words == "2 processes"
    # The targets have a variance of 0.23: a constant does no better than that.
    assert float(loss) < 0.02
    assert "1.weight" in torch.load(tmp_path / "model.pt", weights_only=True)


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
