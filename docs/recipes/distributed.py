# SPDX-License-Identifier: Apache-2.0
"""Two processes train one network, by DDP or by FSDP2: ``torchrun --nproc-per-node 2 FILE ddp``."""

import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from qiskit_torch_bridge import QuantumLayer


def train(way: str, epochs: int = 20) -> float:
    """Train on this process's share of the rows; return the loss on all of them."""
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), QuantumLayer(2, 2, seed=1), nn.Linear(2, 1))
    if way == "ddp":
        model = DistributedDataParallel(model)  # weights are those of the first process
    else:
        from torch.distributed.fsdp import fully_shard

        fully_shard(model)
    features = torch.rand(64, 3)
    targets = features.sum(1, keepdim=True).cos()
    data = TensorDataset(features, targets)
    sampler = DistributedSampler(data)  # another half of the rows for each process
    loader = DataLoader(data, batch_size=16, sampler=sampler)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for rows, wanted in loader:
            optimizer.zero_grad()
            nn.functional.mse_loss(model(rows), wanted).backward()  # gradients are averaged here
            optimizer.step()
    with torch.no_grad():
        loss = nn.functional.mse_loss(model(features), targets)
    dist.destroy_process_group()
    return loss.item()


if __name__ == "__main__":
    print(f"loss {train(sys.argv[1]):.4f}")
