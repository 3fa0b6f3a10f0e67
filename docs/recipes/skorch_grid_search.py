# SPDX-License-Identifier: Apache-2.0
"""A quantum layer in a scikit-learn pipeline, searched over by ``GridSearchCV``, with skorch."""

import torch
from sklearn.datasets import make_moons
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from skorch import NeuralNetClassifier
from torch import nn

from qiskit_torch_bridge import QuantumLayer


class Classifier(nn.Module):
    """A quantum layer on two features, and a linear one."""

    def __init__(self, layers: int = 2, encoding: str = "reuploading") -> None:
        super().__init__()
        self.quantum = QuantumLayer(2, 2, layers=layers, encoding=encoding, seed=1)
        self.head = nn.Linear(2, 2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of both classes."""
        return self.head(self.quantum(features))


def search(epochs: int = 30, folds: int = 3) -> GridSearchCV:
    """Find the encoding and the number of layers that tell two moons apart best."""
    points, labels = make_moons(120, noise=0.1, random_state=0)
    torch.manual_seed(0)
    net = NeuralNetClassifier(
        Classifier,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=0.1,
        max_epochs=epochs,
        verbose=0,
    )
    pipeline = make_pipeline(MinMaxScaler((-1.5, 1.5)), net)
    grid = {
        "neuralnetclassifier__module__encoding": ["angle", "reuploading"],
        "neuralnetclassifier__module__layers": [1, 2],
    }
    return GridSearchCV(pipeline, grid, cv=folds).fit(points.astype("float32"), labels)


if __name__ == "__main__":
    found = search()
    print(found.best_params_, f"accuracy {found.best_score_:.2f}")
