# SPDX-License-Identifier: Apache-2.0
"""What one call costs beside the computation: eager and compiled, against what PyTorch takes.

On two qubits there is next to nothing to compute. What is left is PyTorch's own: a bare
``torch.autograd.Function`` that copies its input is the floor of an eager step, and a network with
``Tanh`` in the circuit's place shows what compiling adds to any step of that size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import harness
import torch
from shift_step import workload
from torch import Tensor, nn

from qiskit_torch_bridge import TorchQuantumModule, __version__


class Bare(torch.autograd.Function):
    """Copies its input, and gives back what a gradient would look like."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, weights)
        return inputs.clone()

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        return cotangent, torch.zeros_like(ctx.saved_tensors[1])


def step_of(model: Callable[..., Tensor], *arguments: Tensor, calls: int) -> Callable[[], None]:
    """Return some training steps without an optimizer."""

    def steps() -> None:
        for _ in range(calls):
            model(*arguments).sum().backward()

    return steps


def candidates(calls: int, backend: str) -> dict[str, Callable[[], None]]:
    """Return the steps to compare."""
    work = workload(2, 1, 4)
    node = TorchQuantumModule(
        work.circuit,
        work.observables,
        input_params=work.inputs,
        weight_params=work.weights,
        initial_weights=work.w,
    )
    x = work.x.detach().clone().requires_grad_()
    data = torch.rand(4, 2, dtype=torch.float64)

    def network(middle: nn.Module) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 2), middle, nn.Linear(2, 1)).double()

    networks = {"Tanh": network(nn.Tanh()), "circuit": network(node)}
    found = {
        "bare function": step_of(Bare.apply, x, node.weight, calls=calls),
        "module": step_of(node, x, calls=calls),
    }
    for name, model in networks.items():
        compiled = torch.compile(model, fullgraph=True, backend=backend)
        found[f"network with {name}"] = step_of(model, data, calls=calls)
        found[f"network with {name}, compiled"] = step_of(compiled, data, calls=calls)
    return found


def main() -> None:
    """Time, print and save."""
    parser = harness.parser(__doc__, repeats=25, budget=60)
    parser.add_argument("--calls", type=int, default=100, help="steps in one measurement")
    parser.add_argument("--backend", default="inductor", help="of torch.compile")
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps = candidates(options.calls, options.backend)
    timings = harness.time_interleaved(steps, options.repeats, options.budget)
    micro = {t.name: 1e6 * t.median / options.calls for t in timings}
    rows = [[name, f"{value:.0f}"] for name, value in micro.items()]
    ratio = micro["module"] / micro["bare function"]
    added = {
        name: micro[f"network with {name}, compiled"] - micro[f"network with {name}"]
        for name in ("Tanh", "circuit")
    }
    facts = harness.environment(("numpy", "numba", "torch", "qiskit"))
    facts["qiskit-torch-bridge"] = __version__
    text = "\n\n".join(
        [
            "# The cost of a call",
            harness.table(("step of two qubits, one layer, four rows", "microseconds"), rows),
            f"A step of a module takes {ratio:.1f} times as long as one of a bare "
            "torch.autograd.Function that computes nothing. Compiling "
            f"({options.backend}) adds {added['Tanh']:.0f} microseconds to the network with Tanh, "
            f"and {added['circuit']:.0f} to the one with the circuit.",
            ", ".join(f"{key} {value}" for key, value in facts.items()),
        ]
    )
    print(text)
    seconds = {t.name: t.seconds for t in timings}
    harness.save("call", text, {"environment": facts, "seconds": seconds}, options.output)


if __name__ == "__main__":
    main()
