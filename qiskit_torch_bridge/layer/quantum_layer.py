# SPDX-License-Identifier: Apache-2.0
"""A layer that is a circuit, made in one line: features in, expectation values out."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from qiskit.circuit import QuantumCircuit
from torch import Tensor, nn
from typing_extensions import Unpack

from ..arguments import (
    MOST_SEED,
    require_bool,
    require_choice,
    require_seed,
    require_whole_number,
    shown,
)
from ..autograd.calls import checked_inputs
from ..backends.prepare import PassManager
from ..exceptions import CircuitError, InputError, MeasurementError
from ..execution import (
    BackendChoice,
    EstimatorChoice,
    Execution,
    GradientChoice,
    HowFields,
    Shots,
)
from ..initial_weights import WeightsChoice
from ..jobs.budget import Cost
from ..module import TorchQuantumModule
from ..primitives.families import Primitive
from ..program.measurements import Measurement
from ..program.observables import ObservablesLike
from ..program.program import FrozenLike
from ..samples import Samples
from .circuits import (
    ENCODINGS,
    Encoding,
    Pairs,
    Shape,
    build_circuit,
    check_entanglement,
)
from .initial_angles import STARTS, draw_angles
from .outputs import choose_measurement, count_outputs

StartChoice: TypeAlias = str | WeightsChoice
"""What initial weights are given as, names included."""


class QuantumLayer(nn.Module):
    r"""A circuit as a layer, from the number of features in to the number of values out.

    .. math:: y_o = \langle 0 | U^\dagger(s \odot x, w)\, O_o\, U(s \odot x, w) | 0 \rangle

    for features :math:`x`, trainable angles :math:`w` and, on request, trainable scales :math:`s`.
    The features are encoded, and ``layers`` trainable layers follow, each of rotations RX and RY of
    every qubit and of CZ between some; rotations come last. What it is made of is open:
    ``layer.circuit`` is the circuit, ``layer.quantum`` the :class:`.TorchQuantumModule`.

    Args:
        in_features: The features of a row.
        out_features: The outputs of a row; default: as many as are measured.
        qubits: How many; default: one for each feature, but at most 10 where features can share
            them (``"angle"`` and ``"reuploading"``).
        layers: The trainable layers, from 1 up.
        encoding: How features become a state.

            * ``"angle"``: each is the angle of a rotation, RY on one qubit after the other; further
              rounds turn about X and Y in turn.
            * ``"reuploading"``: the same before each layer, which gives Fourier series of degree
              ``layers`` in each feature [1]_ [2]_.
            * ``"iqp"``: Qiskit's ``zz_feature_map``, phases of features and of products of pairs,
              twice [3]_; pairs are those of ``entanglement``.
            * ``"amplitude"``: the vector of features, padded with zeros and divided by its norm, is
              the state: up to ``2**qubits`` of them.
            * ``"basis"``: a bit each, 0 or 1, as the states of the qubits: RX by :math:`\pi x`.
              Values between them give superpositions, so that there is a gradient.
        entanglement: The pairs of qubits that CZ acts on, as a name of Qiskit's library:
            ``"linear"``, ``"reverse_linear"``, ``"pairwise"``, ``"circular"``, ``"sca"``,
            ``"full"``; or a list of pairs. CZ gates commute and are symmetric: the first three are
            one function, ``"pairwise"`` in the smallest depth, and so are the next two.
        measurement: Observables or a measurement, as for :class:`.TorchQuantumModule`, whose output
            is one list of ``out_features`` numbers; ``"probabilities"`` are those of the outcomes
            of the first qubits, ``2**k`` for ``k``. Default: Z on one qubit after the other, then
            products of Z on two, on three, and so on.
        scale_inputs: Whether features are multiplied by trainable numbers, which begin as 1: one
            for each feature, and with ``"reuploading"`` for each feature in each layer.
        initial_weights: Numbers, as for :class:`.TorchQuantumModule`, or a name. ``"small"`` draws
            angles from a normal distribution of variance :math:`1/(2S(L+1))` for :math:`L` layers
            and observables of at most :math:`S` qubits: for features that are encoded once, their
            gradients have a lower bound that does not depend on the number of qubits, but on Z in
            the encoded state [4]_. ``"identity"`` draws angles such that each two layers
            undo each other [5]_. ``"uniform"`` draws from :math:`[-\pi, \pi)`, where gradients of
            deep circuits vanish exponentially with the qubits.
        estimator: Where it runs, as for :class:`.TorchQuantumModule`, like all that follow;
            default: the exact engine in this process.
        backend: A backend instead.
        gradient: How to differentiate.
        shots: Shots for every evaluation, or
        precision: the standard error for every evaluation; at most one of them.
        pass_manager: Transpiles the circuit once, now.
        seed: Makes the initial weights, and the shots of simulators, reproducible on their own.
        evaluation: An :class:`.Execution` with what is different in ``eval()`` mode.

    Shapes:
        Inputs ``(*batch, in_features)``, radians (bits for ``"basis"``), to outputs
        ``(*batch, out_features)`` in their dtype and on their device.

    Attributes:
        in_features: As given.
        out_features: The outputs of a row.
        quantum: The module that evaluates the circuit. What it can do beyond what is here, it does
            for :meth:`angles` of features.
        scale: The scales, ``(1, in_features)`` or ``(layers, in_features)``; ``None`` without.

    Raises:
        BridgeError: One of its subclasses for anything wrong with the arguments, now; or with
            the inputs, when called; always before a job is submitted.

    Cost:
        That of :class:`.TorchQuantumModule` for ``2 * qubits * (layers + 1)`` weights.

    References:
        .. [1] A. Pérez-Salinas et al., Quantum 4, 226 (2020), arXiv:1907.02085.
        .. [2] M. Schuld, R. Sweke, J. J. Meyer, Phys. Rev. A 103, 032430 (2021), arXiv:2008.08605.
        .. [3] V. Havlíček et al., Nature 567, 209 (2019), arXiv:1804.11326.
        .. [4] K. Zhang et al., NeurIPS 35, 18612 (2022), arXiv:2203.09376, theorem 4.1.
        .. [5] E. Grant et al., Quantum 3, 214 (2019), arXiv:1903.05076.

    Example:
        >>> import torch
        >>> from qiskit_torch_bridge import QuantumLayer
        >>> layer = QuantumLayer(4, 2, encoding="reuploading", seed=7)
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 4), layer, torch.nn.Linear(2, 3))
        >>> model(torch.randn(16, 8)).shape
        torch.Size([16, 3])
        >>> layer.circuit.num_qubits, layer.weight.shape
        (4, torch.Size([24]))
        >>> print(QuantumLayer(1, layers=1).draw())
           ┌──────────┐┌──────────┐┌──────────┐┌──────────┐┌──────────┐
        q: ┤ Ry(x[0]) ├┤ Rx(w[0]) ├┤ Ry(w[1]) ├┤ Rx(w[2]) ├┤ Ry(w[3]) ├
           └──────────┘└──────────┘└──────────┘└──────────┘└──────────┘
    """

    scale: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int | None = None,
        *,
        qubits: int | None = None,
        layers: int = 2,
        encoding: str = "angle",
        entanglement: str | Pairs = "linear",
        measurement: ObservablesLike | Measurement | None = None,
        scale_inputs: bool = False,
        initial_weights: StartChoice = "small",
        estimator: EstimatorChoice | Sequence[Primitive] | None = None,
        backend: BackendChoice | None = None,
        gradient: GradientChoice | None = None,
        shots: int | Shots | None = None,
        precision: float | None = None,
        pass_manager: PassManager | None = None,
        seed: int | None = None,
        evaluation: Execution | None = None,
    ) -> None:
        super().__init__()
        self.in_features = require_whole_number(in_features, "in_features", 1)
        if out_features is not None:
            require_whole_number(out_features, "out_features", 1, error=MeasurementError)
        self.layers = require_whole_number(layers, "layers", 1)
        self.encoding = require_choice(encoding, "encoding", tuple(ENCODINGS))
        way = ENCODINGS[self.encoding]
        self.qubits = _count_qubits(qubits, self.in_features, self.encoding, way)
        self.entanglement = check_entanglement(entanglement, self.qubits)
        start, weights = _read_start(initial_weights, self.encoding, way)
        scaled = require_bool(scale_inputs, "scale_inputs")
        uploads = self.layers if way.repeated else 1
        shape = Shape(self.in_features, self.qubits, self.layers, self.entanglement, scaled)
        built = build_circuit(way, shape)
        asked = choose_measurement(measurement, out_features, self.qubits)
        self.quantum = TorchQuantumModule(
            built.circuit,
            asked,
            input_params=built.inputs,
            weight_params=built.weights,
            estimator=estimator,
            backend=backend,
            gradient=gradient,
            shots=shots,
            precision=precision,
            pass_manager=pass_manager,
            initial_weights=[0.0] * len(built.weights) if weights is None else weights,
            seed=seed,
            evaluation=evaluation,
        )
        self.out_features = count_outputs(self.quantum.program, out_features)
        if start:
            self._draw_weights(start, seed)
        scale = nn.Parameter(torch.ones(uploads, self.in_features)) if scaled else None
        self.register_parameter("scale", scale)

    @torch.no_grad()
    def _draw_weights(self, start: str, seed: int | None) -> None:
        seed = require_seed(seed, most=MOST_SEED)
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        program = self.quantum.program
        drawn = draw_angles(start, self.layers, self.qubits, program, generator)
        self.quantum.weight.copy_(drawn)

    def angles(self, inputs: Tensor) -> Tensor:
        """Return what the circuit's inputs are for features ``(*batch, in_features)``.

        These are what :attr:`quantum` is called with: the features, times :attr:`scale` if there
        are scales, once for each layer that has its own.

        Example:
            >>> import torch
            >>> from qiskit_torch_bridge import QuantumLayer
            >>> layer = QuantumLayer(2, encoding="reuploading", scale_inputs=True)
            >>> layer.angles(torch.tensor([[0.5, 1.0]])).tolist()
            [[0.5, 1.0, 0.5, 1.0]]
            >>> [p.name for p in layer.quantum.program.input_params]
            ['x[0]', 'x[1]', 'x[2]', 'x[3]']
        """
        features = checked_inputs(inputs, self.in_features)
        if self.scale is None:
            return features
        return (features.unsqueeze(-2) * self.scale).flatten(-2)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what is measured, ``(*batch, out_features)``."""
        output: Tensor = self.quantum(self.angles(inputs))
        # Scales may have made the angles more precise.
        alike = output.is_complex() or not inputs.is_floating_point()
        return output if alike else output.to(inputs.dtype)

    @property
    def weight(self) -> nn.Parameter:
        """The trainable angles ``(W,)``: of each layer RX on all qubits, then RY; radians."""
        return self.quantum.weight

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "weight":  # as for nn.Linear, though it is the circuit's
            self.quantum.weight = value
        else:
            super().__setattr__(name, value)

    @property
    def circuit(self) -> QuantumCircuit:
        """The circuit as it is submitted: ``x`` are features, ``w`` weights. Read-only."""
        return self.quantum.circuit

    def draw(self, output: str = "text") -> Any:
        """Return a drawing of the circuit, from its parameters ``x`` and ``w`` to its gates.

        Args:
            output: ``"text"``; or ``"mpl"``, ``"latex"`` or ``"latex_source"``, which need packages
                that Qiskit names. ``layer.circuit.draw`` has more options.

        Raises:
            InputError: If it is something else, or such a package is missing.
        """
        return self.quantum.draw(output)

    def sample(self, inputs: Tensor, shots: int | None = None) -> Samples:
        """Return outcomes of all qubits for features; see :meth:`.TorchQuantumModule.sample`.

        Args:
            inputs: Shape ``(*batch, in_features)``.
            shots: Shots for each row; default: those of a forward pass, or of the sampler.

        Example:
            >>> import torch
            >>> from qiskit_torch_bridge import QuantumLayer
            >>> QuantumLayer(3, seed=1).sample(torch.zeros(5, 3), shots=100).bits.shape
            torch.Size([5, 100, 3])
        """
        with torch.no_grad():
            return self.quantum.sample(self.angles(inputs), shots)

    def cost(
        self,
        batch_size: int = 1,
        *,
        backward: bool = True,
        input_gradients: bool = False,
        steps: int = 1,
    ) -> Cost:
        """Return what steps will cost; see :meth:`.TorchQuantumModule.cost`.

        Args:
            batch_size: The rows of the inputs.
            backward: Whether a backward pass follows.
            input_gradients: Whether it goes on to a layer before this one. Trainable scales need
                the same gradients.
            steps: How many steps there are.
        """
        require_bool(input_gradients, "input_gradients")
        trains = self.scale is not None and self.scale.requires_grad
        return self.quantum.cost(
            batch_size, backward=backward, input_gradients=input_gradients or trains, steps=steps
        )

    def with_backend(
        self,
        backend: BackendChoice | None = None,
        *,
        evaluation: Execution | None = None,
        **changes: Unpack[HowFields],
    ) -> QuantumLayer:
        """Return a copy that runs elsewhere; see :meth:`.TorchQuantumModule.with_backend`.

        Example:
            >>> from qiskit_torch_bridge import QuantumLayer
            >>> layer = QuantumLayer(2, seed=1)
            >>> layer.with_backend(shots=1000).quantum.shots
            1000
        """
        moved = self.quantum.with_backend(backend, evaluation=evaluation, **changes)
        return copy.deepcopy(self, {id(self.quantum): moved})

    def with_frozen(self, frozen_params: FrozenLike | None) -> QuantumLayer:
        """Return a copy in which other weights are frozen.

        It is what :meth:`.TorchQuantumModule.with_frozen` does for :attr:`quantum`.

        Args:
            frozen_params: Weights of the circuit: parameters, names, or patterns of names;
                ``None`` to train all weights.

        Example:
            >>> from qiskit_torch_bridge import QuantumLayer
            >>> layer = QuantumLayer(2, seed=1).with_frozen(["w[0]", "w[1]"])
            >>> layer.weight.shape, layer.quantum.frozen_weight.shape
            (torch.Size([10]), torch.Size([2]))
        """
        return copy.deepcopy(self, {id(self.quantum): self.quantum.with_frozen(frozen_params)})

    def extra_repr(self) -> str:
        """Describe the layer as ``print`` shows it."""
        names = ("in_features", "out_features", "qubits", "layers", "encoding", "entanglement")
        texts = [f"{name}={getattr(self, name)!r}" for name in names]
        return ", ".join([*texts, f"scale_inputs={self.scale is not None}"])


def _count_qubits(given: Any, features: int, name: str, way: Encoding) -> int:
    """Return the qubits, those that were asked for or as many as suit the encoding."""
    if features < way.least:
        raise InputError(
            f"Expected at least {way.least} features for encoding={name!r}; got in_features="
            f"{features}. Take 'angle'."
        )
    qubits = way.default_qubits(features)
    if given is not None:
        qubits = require_whole_number(given, "qubits", 1, error=CircuitError)
    if features > way.capacity(qubits):
        raise CircuitError(
            f"Expected {way.room} for encoding={name!r}; got in_features={shown(features)} and "
            f"qubits={qubits}. Take more qubits, or 'angle', by which features share qubits."
        )
    return qubits


def _read_start(given: Any, name: str, way: Encoding) -> tuple[str, WeightsChoice | None]:
    """Return the name of the initial weights, or an empty one and the weights."""
    if given is not None and not isinstance(given, str):
        return "", given
    hint = " Or numbers, in the order of layer.circuit's weights w."
    start = require_choice(given, "initial_weights", tuple(STARTS), hint=hint)
    if start == "identity" and way.repeated:
        raise InputError(
            f"Expected layers with no features between them for initial_weights='identity'; got "
            f"encoding={name!r}. Take 'small'."
        )
    return start, None
