# SPDX-License-Identifier: Apache-2.0
"""A search over encodings, layers and learning rates by Optuna."""

import optuna
import torch
from torch import nn

from qiskit_torch_bridge import QuantumLayer


def objective(trial: optuna.Trial, steps: int = 60) -> float:
    """Return the loss on points that the model was not trained on."""
    torch.manual_seed(0)
    features = torch.rand(96, 2) * 3 - 1.5
    targets = torch.cos(2 * features[:, :1]) * torch.sin(features[:, 1:])
    layer = QuantumLayer(
        2,
        1,
        encoding=trial.suggest_categorical("encoding", ["angle", "reuploading", "iqp"]),
        layers=trial.suggest_int("layers", 1, 4),
        scale_inputs=trial.suggest_categorical("scale_inputs", [False, True]),
        seed=1,
    )
    model = nn.Sequential(layer, nn.Linear(1, 1))
    optimizer = torch.optim.Adam(model.parameters(), trial.suggest_float("lr", 0.01, 0.3, log=True))
    for step in range(steps):
        optimizer.zero_grad()
        (model(features[:64]) - targets[:64]).square().mean().backward()
        optimizer.step()
        with torch.no_grad():
            loss = (model(features[64:]) - targets[64:]).square().mean().item()
        trial.report(loss, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return loss


def search(trials: int = 20) -> optuna.Study:
    """Minimize the loss."""
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1))
    study.optimize(objective, n_trials=trials)
    return study


if __name__ == "__main__":
    found = search()
    print(found.best_params, f"loss {found.best_value:.4f}")
