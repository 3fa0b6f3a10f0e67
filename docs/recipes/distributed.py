# SPDX-License-Identifier: Apache-2.0
"""Two processes train one network, by DDP or by FSDP2: ``torchrun --nproc-per-node 2 FILE ddp``."""

import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from qiskit_torch_bridge import QuantumLayer


def train(way: str, steps: int = 20) -> float:
    """Train on this process's share of the data; return the last loss, averaged over all."""
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 2), QuantumLayer(2, 2, seed=1), nn.Linear(2, 1))
    if way == "ddp":
        model = DistributedDataParallel(model)
    else:
        from torch.distributed.fsdp import fully_shard

        fully_shard(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    features = torch.rand(64, 4)[dist.get_rank() :: dist.get_world_size()]
    targets = features.sum(1, keepdim=True).sin()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (model(features) - targets).square().mean()
        loss.backward()
        optimizer.step()
    mean = loss.detach() / dist.get_world_size()
    dist.all_reduce(mean)
    dist.destroy_process_group()
    return mean.item()


if __name__ == "__main__":
    print(f"loss {train(sys.argv[1]):.4f}")
