# SPDX-License-Identifier: Apache-2.0
"""Networks with a quantum node: their circuits, what is read from them, how they are trained."""

from __future__ import annotations

import math

import pytest
import torch
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector

from qiskit_torch_bridge.__main__ import build_parser
from qiskit_torch_bridge.demos import hybrid_network, mnist
from qiskit_torch_bridge.demos.hybrid_network import HybridNet
from qiskit_torch_bridge.demos.node_circuits import TWO_QUBITS
from qiskit_torch_bridge.gradients import FiniteDifference

ROTATIONS = [name for name in hybrid_network.CIRCUITS if name not in TWO_QUBITS]


def parsed(*arguments):
    return build_parser().parse_args(["demo", "mnist", *map(str, arguments)])


def run(*arguments):
    options = parsed(*arguments)
    return options.run(options)


def evs(node, angles, weights=()):
    """Expectation values of a node's circuit, from Qiskit's state vector."""
    values = dict(zip(node.angles, angles, strict=True))
    others = [p for p in node.circuit.parameters if p not in values]
    values |= dict(zip(others, weights, strict=False)) if weights else dict.fromkeys(others, 0.0)
    state = Statevector(node.circuit.assign_parameters(values))
    return [state.expectation_value(SparsePauliOp(o)).real for o in node.observables]


@pytest.mark.parametrize("name", [name for name in ROTATIONS if name != "u2"])
def test_small_inputs_leave_the_node_undecided_and_sensitive(name):
    node = hybrid_network.build_circuit(name, 3)
    zeros = [0.0] * len(node.angles)
    assert evs(node, zeros) == pytest.approx([0, 0, 0], abs=1e-12)
    assert evs(node, [0.1, *zeros[1:]]) == pytest.approx([-math.sin(0.1), 0, 0], abs=1e-12)


def test_each_rotation_has_its_closed_form():
    def value(name, *angles):
        return evs(hybrid_network.build_circuit(name, 1), angles)[0]

    a, b, c = 0.4, -0.7, 1.1
    assert value("ry", a) == pytest.approx(-math.sin(a))
    assert value("u2", a, b) == pytest.approx(-math.cos(b))
    assert value("u3", a, b, c) == pytest.approx(-math.sin(a) * math.cos(c))
    assert value("rxry", a, b) == pytest.approx(-math.sin(a) * math.cos(b))
    (double,) = evs(TWO_QUBITS["two-u3"](), (a, b, c))
    assert double == pytest.approx(-2 * math.sin(a) * math.cos(c))


def test_the_two_qubit_qaoa_circuit_is_mixer_zz_and_two_rotations():
    angles = (0.4, -0.7, 1.1, 0.3, -0.9)
    circuit = QuantumCircuit(2)
    circuit.rx(angles[0], 0)
    circuit.rx(angles[1], 1)
    circuit.cx(0, 1)
    circuit.rz(-angles[2], 1)
    circuit.cx(0, 1)
    circuit.ry(angles[3], 0)
    circuit.ry(angles[4], 1)
    state = Statevector(circuit)
    expected = [state.expectation_value(SparsePauliOp(z)).real for z in ("IZ", "ZI")]
    assert evs(TWO_QUBITS["qaoa"](), angles) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("head", ["half", "softmax"])
def test_the_network_returns_probabilities_of_its_expectation_values(classes, head):
    images = torch.rand(4, 1, 28, 28)
    net, found = HybridNet(classes, head=head).eval(), []
    net.node.register_forward_hook(lambda module, inputs, output: found.append(output))
    probabilities = net(images).detach().exp()
    assert torch.allclose(probabilities.sum(-1), torch.ones(4))
    values = found[0].detach()
    if classes == 2:
        values = torch.cat([values, -values], -1)
    expected = (1 + values) / (1 + values).sum(-1, keepdim=True)
    if head == "softmax":
        expected = torch.softmax(hybrid_network.LOGIT_SCALE * values, -1)
    tolerance = 2 / hybrid_network.NO_SHOTS + 1e-6
    torch.testing.assert_close(probabilities, expected, rtol=0, atol=tolerance)


def test_a_quarter_of_the_sum_of_two_values_is_the_first_probability():
    values = torch.tensor([[1.0, 1.0], [0.5, -0.3], [-1.0, -1.0]], requires_grad=True)
    probabilities = hybrid_network.quarter(values, hybrid_network.NO_SHOTS).exp()
    torch.testing.assert_close(
        probabilities[:, 0].detach(), torch.tensor([0.75, 0.3, 0.0]), rtol=0, atol=1e-5
    )
    probabilities[:, 0].sum().backward()
    # The last row counts as zero, and its slope is that of one quarter.
    torch.testing.assert_close(values.grad[:2], torch.full((2, 2), 0.25), rtol=1e-4, atol=0)
    assert bool((values.grad[2] > 0.1).all())


def test_zero_counts_have_a_finite_logarithm_and_gradient():
    values = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    logarithms = hybrid_network.half(values, 100)
    logarithms.sum().backward()
    assert logarithms.detach().exp().min().item() == pytest.approx(1 / 102, rel=1e-5)
    assert torch.isfinite(values.grad).all()


def test_estimates_outside_the_range_of_probabilities_keep_their_slope():
    """Aer's Gaussian noise reaches beyond one; such a value counts as one."""

    def slopes(size):
        values = torch.tensor([[size], [-size]], requires_grad=True)
        logarithms = hybrid_network.half(values, 100)
        logarithms[:, 0].sum().backward()
        return logarithms.detach(), values.grad

    for found, expected in zip(slopes(1.3), slopes(1.0), strict=True):
        torch.testing.assert_close(found, expected)
        assert found.isfinite().all() and found.all()


def test_losses_have_their_closed_forms():
    probabilities, classes = torch.tensor([[0.7, 0.3], [0.4, 0.6]]), torch.tensor([0, 0])
    found = {
        name: loss(probabilities.log(), classes).item()
        for name, loss in hybrid_network.LOSSES.items()
    }
    scores = 2 * hybrid_network.LOGIT_SCALE * probabilities
    softmax = (scores.exp() / scores.exp().sum(-1, keepdim=True))[:, 0]
    assert found == pytest.approx(
        {
            "nll": -(math.log(0.7) + math.log(0.4)) / 2,
            "linear": -(0.7 + 0.4) / 2,
            "cross-entropy": -softmax.log().mean().item(),
        }
    )


@pytest.mark.parametrize(("bound", "largest"), [(0.0, math.inf), (0.5, 0.5), (math.pi, math.pi)])
def test_angles_are_bounded(bound, largest):
    net, found = HybridNet(2, bound=bound).eval(), []
    with torch.no_grad():
        net.linear2.weight.mul_(1000)
    net.node.register_forward_pre_hook(lambda module, inputs: found.append(inputs[0]))
    net(torch.rand(20, 1, 28, 28))
    assert found[0].abs().max() <= largest
    assert bound or found[0].abs().max() > 4


@pytest.mark.parametrize(("classes", "qubits"), [(2, 1), (3, 2), (4, 2), (5, 3)])
def test_outcomes_modulo_the_number_of_digits_are_their_probabilities(classes, qubits):
    net, found = HybridNet(classes, node="probabilities").eval(), []
    net.node.register_forward_pre_hook(lambda module, inputs: found.append(inputs[0]))
    probabilities = net(torch.rand(3, 1, 28, 28)).detach().exp()
    circuit = net.node.program.circuit
    assert circuit.num_qubits == qubits
    for angles, row in zip(found[0].detach().tolist(), probabilities, strict=True):
        values = dict(zip(net.node.program.input_params, angles, strict=True))
        values |= dict.fromkeys(net.node.program.weight_params, 0.0)
        expected = torch.zeros(classes, dtype=torch.float64)
        state = Statevector(circuit.assign_parameters(values))
        for outcome, probability in enumerate(state.probabilities()):
            expected[outcome % classes] += probability
        tolerance = classes / hybrid_network.NO_SHOTS + 1e-6
        torch.testing.assert_close(row.double(), expected, rtol=0, atol=tolerance)


def test_three_digits_are_learned_from_probabilities_of_outcomes(capsys):
    """With three classes of 250 held-out digits a guess is right a third of the time."""
    options = ("--digits", 3, 6, 1, "--epochs", 3, "--lr", 0.003)
    training = run("--node", "probabilities", *options)
    assert training.accuracies[-1] > 1 / 3 + 5 * math.sqrt(2 / 9 / 750)
    assert "rxry on 2 qubits, 4 inputs, 3 weights, read as probabilities" in capsys.readouterr().out
    # A step: one job forward and one backward, a point for each image and its shifts.
    assert training.usage.jobs == 3 * (10 * 2 + 3)


@pytest.mark.parametrize("circuit", hybrid_network.CIRCUITS)
@pytest.mark.parametrize("loss", hybrid_network.LOSSES)
def test_every_circuit_is_trained_with_every_loss(circuit, loss):
    heads = ("quarter", "softmax") if circuit in TWO_QUBITS else ("half",)
    for head in heads:
        options = ("--circuit", circuit, "--loss", loss, "--head", head, "--first", 4)
        training = run(*options, "--digits", 0, 1, "--epochs", 1, "--batch-size", 8)
        assert all(map(math.isfinite, training.losses))


def test_the_network_alone_learns_without_a_circuit(capsys):
    training = run("--node", "none", "--epochs", 3, "--lr", 0.003)
    assert training.usage.points == training.usage.jobs == 0
    assert training.accuracies[-1] > 0.5 + 5 * 11 / 500  # as in test_demos
    assert "the network alone" in capsys.readouterr().out


def test_momentum_rate_and_step_are_taken_from_the_flags():
    options = parsed("--optimizer", "sgd", "--momentum", 0.5)
    options.gradient, options.shots = "finite-difference", 100
    options.epsilon = 0.3
    model = mnist.make_model(options)
    optimizer = mnist.make_optimizer(options, model)
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["momentum"] == 0.5 and optimizer.defaults["lr"] == 0.01
    assert model.node.execution.gradient == FiniteDifference(0.3)
    options = parsed("--lr", 0.02)
    assert mnist.make_optimizer(options, model).defaults["lr"] == 0.02
