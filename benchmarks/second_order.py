# SPDX-License-Identifier: Apache-2.0
"""What a Hessian-vector product costs on the exact engine, against a training step.

The step is values and first derivatives; the product adds a second backward pass through the graph
of the first. No package that the other benchmarks compare with differentiates its adjoint gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import harness
import torch
from shift_step import workload

from qiskit_torch_bridge import TorchQuantumModule, __version__

SIZES = ((4, 2, 64), (8, 3, 32), (12, 3, 8), (16, 2, 1))


def candidates(qubits: int, layers: int, batch: int) -> dict[str, Callable[[], object]]:
    """Return a step and a product with the Hessian by the weights."""
    work = workload(qubits, layers, batch)
    node = TorchQuantumModule(
        work.circuit,
        work.observables,
        input_params=work.inputs,
        weight_params=work.weights,
        initial_weights=work.w,
    )
    direction = torch.ones_like(node.weight)

    def step() -> object:
        return torch.autograd.grad(node(work.x).sum(), node.weight)

    def product() -> object:
        (g,) = torch.autograd.grad(node(work.x).sum(), node.weight, create_graph=True)
        return torch.autograd.grad(g @ direction, node.weight)

    return {"gradient": step, "Hessian-vector product": product}


def main() -> None:
    """Time, print and save."""
    options = harness.parser(__doc__, repeats=15, budget=20).parse_args()
    rows, seconds = [], {}
    for size in SIZES:
        step, product = harness.time_interleaved(candidates(*size), options.repeats, options.budget)
        label = "n={}, L={}, B={}".format(*size)
        seconds[label] = {t.name: t.seconds for t in (step, product)}
        rows.append(
            [
                label,
                f"{1e3 * step.median:,.2f}",
                f"{1e3 * product.median:,.2f}",
                f"{product.median / step.median:.1f}",
                str(2 * size[0] * size[1]),
            ]
        )
    header = ("workload", "gradient (ms)", "product (ms)", "ratio", "weights")
    facts = harness.environment(("numpy", "numba", "torch", "qiskit"))
    facts["qiskit-torch-bridge"] = __version__
    text = "\n\n".join(
        [
            "# A Hessian-vector product",
            harness.table(header, rows),
            "The product includes the gradient that it starts from. Its cost does not depend on "
            "the number of weights: a Hessian by shifted gradients would take two for each.",
            ", ".join(f"{key} {value}" for key, value in facts.items()),
        ]
    )
    print(text)
    harness.save("second_order", text, {"environment": facts, "seconds": seconds}, options.output)


if __name__ == "__main__":
    main()
