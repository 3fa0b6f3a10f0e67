# SPDX-License-Identifier: Apache-2.0
"""Differential privacy with opacus: gradients of each row are clipped, and noise is added."""

import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from qiskit_torch_bridge import QuantumLayer


def train(epochs: int = 3, rows: int = 128) -> tuple[float, float]:
    """Train privately; return the last loss and the privacy that was spent."""
    torch.manual_seed(0)
    features = torch.rand(rows, 2)
    labels = (features.sum(1) > 1).long()
    model = nn.Sequential(QuantumLayer(2, 2, seed=1), nn.Linear(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    data = DataLoader(TensorDataset(features, labels), batch_size=32)

    engine = PrivacyEngine()
    model, optimizer, data = engine.make_private(
        module=model, optimizer=optimizer, data_loader=data, noise_multiplier=1.0, max_grad_norm=1.0
    )
    loss = torch.tensor(torch.nan)
    for _ in range(epochs):
        for batch, targets in data:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(batch), targets)
            loss.backward()
            optimizer.step()
    return loss.item(), engine.get_epsilon(delta=1e-3)


if __name__ == "__main__":
    last, epsilon = train()
    print(f"loss {last:.3f}, epsilon {epsilon:.2f} at delta 1e-3")
