# SPDX-License-Identifier: Apache-2.0
"""Small trainings that draw from every kind of random state, for tests of checkpoints."""

from __future__ import annotations

import random

import numpy as np
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit

from qiskit_torch_bridge import TorchQuantumModule, load_checkpoint, save_checkpoint
from qiskit_torch_bridge.optim import QNSPSA, SPSA, QuantumNaturalGradient

ROWS, BATCH = 12, 4


def node(observable="ZZ", **options):
    x, w = ParameterVector("x", 2), ParameterVector("w", 3)
    circuit = QuantumCircuit(2)
    for q in range(2):
        circuit.ry(x[q], q)
        circuit.rx(w[q], q)
    circuit.crx(w[2], 0, 1)
    return TorchQuantumModule(circuit, observable, input_params=x, **options)


OPTIMIZERS = {
    "adam": lambda model: torch.optim.Adam(model.parameters(), lr=0.05),
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
    "spsa": lambda model: SPSA(model, lr=0.2, blocking=True, seed=random.randrange(99)),
    "qnspsa": lambda model: QNSPSA(model, lr=0.1, seed=random.randrange(99)),
    "natural": lambda model: QuantumNaturalGradient(model, lr=0.1),
}


class Training:
    """A network with a quantum node, dropout, noise on its data, and shuffled batches."""

    def __init__(self, kind="adam", seed=0, **options):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        self.kind = kind
        circuit = node(seed=seed, **(options or {"shots": 40}))
        self.model = torch.nn.Sequential(
            torch.nn.Linear(3, 2),
            torch.nn.Dropout(0.2),
            circuit,
            torch.nn.Linear(*circuit.program.output_shape, 1),
        )
        self.optimizer = OPTIMIZERS[kind](self.model)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 2, gamma=0.9)
        self.shuffling = torch.Generator().manual_seed(seed)
        self.noise = np.random.Generator(np.random.SFC64(seed))
        self.cursor = {"epoch": 0, "index": 0, "permutation": torch.arange(0)}
        self.losses = []
        data = torch.Generator().manual_seed(0)  # the data are the same in every process
        self.x = torch.randn(ROWS, 3, generator=data)
        self.y = self.x.prod(-1, keepdim=True)

    def step(self):
        if self.cursor["index"] >= len(self.cursor["permutation"]):
            self.cursor = {
                "epoch": self.cursor["epoch"] + 1,
                "index": 0,
                "permutation": torch.randperm(ROWS, generator=self.shuffling),
            }
        first = self.cursor["index"]
        rows = self.cursor["permutation"][first : first + BATCH]
        blur = np.random.normal() + random.gauss(0, 1)  # noqa: NPY002
        x = self.x[rows] + 0.1 * blur
        y = self.y[rows] + 0.1 * self.noise.standard_normal()

        def closure():
            self.optimizer.zero_grad()
            loss = (self.model(x) - y).square().mean()
            if loss.requires_grad and self.kind not in ("spsa", "qnspsa"):
                loss.backward()
            return loss

        self.losses.append(float(torch.as_tensor(self.optimizer.step(closure)).detach()))
        self.scheduler.step()
        self.cursor["index"] = first + BATCH

    @property
    def parts(self):
        return {
            "model": self.model,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "generators": [self.shuffling, self.noise],
        }

    def save(self, path, **options):
        save_checkpoint(path, **{**self.parts, "cursor": self.cursor, **options})

    def load(self, path, **options):
        checkpoint = load_checkpoint(path, **{**self.parts, **options})
        self.cursor = checkpoint.cursor
        return checkpoint

    def weights(self):
        return torch.cat([p.detach().flatten().double() for p in self.model.parameters()])
