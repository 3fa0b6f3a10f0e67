# SPDX-License-Identifier: Apache-2.0
"""A network with a quantum layer under Lightning's ``Trainer``: clipping, bf16, checkpoints."""

from pathlib import Path

import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from qiskit_torch_bridge import QuantumLayer


class Regression(LightningModule):
    """Four features to one number."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(
            nn.Linear(4, 2), QuantumLayer(2, 2, encoding="reuploading", seed=1), nn.Linear(2, 1)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the predictions."""
        return self.network(features)

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        """Return the loss of a batch, and log it."""
        features, targets = batch
        loss = nn.functional.mse_loss(self(features), targets)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


def train(
    folder: Path, epochs: int = 10, precision: str = "bf16-mixed"
) -> tuple[Regression, float]:
    """Train, and return the module of the best checkpoint and its loss."""
    seed_everything(1)
    features = torch.rand(128, 4)
    targets = torch.sin(3 * features.sum(1, keepdim=True))
    data = DataLoader(TensorDataset(features, targets), batch_size=32, shuffle=True)
    best = ModelCheckpoint(folder, monitor="loss", mode="min")
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        gradient_clip_val=1.0,
        precision=precision,
        callbacks=[best],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Regression(), data)
    module = Regression.load_from_checkpoint(best.best_model_path)
    return module, best.best_model_score.item()


if __name__ == "__main__":
    print(f"loss {train(Path('checkpoints'))[1]:.3f}")
