# SPDX-License-Identifier: Apache-2.0
"""Losses, gradients and the circuit itself in TensorBoard and in MLflow."""

from pathlib import Path

import torch
from torch import nn

from qiskit_torch_bridge import QuantumLayer


def losses(steps: int):
    """Train a small network; yield the step, the loss and the model after each."""
    torch.manual_seed(0)
    model = nn.Sequential(QuantumLayer(2, 2, seed=1), nn.Linear(2, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    features = torch.rand(64, 2)
    for step in range(steps):
        optimizer.zero_grad()
        loss = (model(features) - features.prod(1, keepdim=True)).square().mean()
        loss.backward()
        optimizer.step()
        yield step, loss.item(), model


def log_to_tensorboard(folder: Path, steps: int = 50) -> None:
    """Write scalars, a histogram of the circuit's gradient, and its drawing."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder) as writer:
        for step, loss, model in losses(steps):
            writer.add_scalar("loss", loss, step)
            writer.add_histogram("gradient of the circuit", model[0].weight.grad, step)
        writer.add_text("circuit", f"```\n{model[0].circuit.draw(fold=-1)}\n```")


def log_to_mlflow(folder: Path, steps: int = 50) -> str:
    """Write parameters, the loss, and the trained circuit as OpenQASM 3; return the run's id."""
    import mlflow
    from qiskit import qasm3

    folder.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(f"sqlite:///{folder.absolute() / 'mlflow.db'}")
    if mlflow.get_experiment_by_name("circuits") is None:
        artifacts = (folder / "artifacts").absolute().as_uri()
        mlflow.create_experiment("circuits", artifact_location=artifacts)
    mlflow.set_experiment("circuits")
    with mlflow.start_run() as run:
        for step, loss, trained in losses(steps):
            mlflow.log_metric("loss", loss, step)
            model = trained
        mlflow.log_params({"qubits": model[0].qubits, "layers": model[0].layers})
        mlflow.log_text(qasm3.dumps(model[0].quantum.to_circuit()), "circuit.qasm")
    return run.info.run_id


if __name__ == "__main__":
    log_to_tensorboard(Path("runs"))
    log_to_mlflow(Path("mlruns"))
