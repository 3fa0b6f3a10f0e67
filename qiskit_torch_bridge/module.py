# SPDX-License-Identifier: Apache-2.0
"""A parameterized circuit as a ``torch.nn.Module``."""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from torch import Tensor, nn
from typing_extensions import Unpack

from .algorithms import read_algorithm, read_qnn
from .arguments import UNREADABLE, require_bool, require_whole_number, shown
from .autograd import Node
from .autograd.completions import complete_errors
from .autograd.constants import constant
from .backends.on_backend import is_same_device
from .backends.prepare import AlreadyTranspiled, PassManager
from .engines import Place, make_engine
from .exceptions import EstimatorTypeError, InputError, PrecisionError, TracingError
from .execution import (
    BackendChoice,
    EstimatorChoice,
    Execution,
    ExecutionFields,
    GradientChoice,
    HowFields,
    Shots,
    check_evaluation,
)
from .functional import PendingOutput, evaluate, refuse_onnx, submit
from .initial_weights import WeightsChoice
from .initial_weights import initial_weights as starting_weights
from .jobs.budget import Cost, estimate_cost
from .primitives.families import Primitive
from .program import CircuitProgram, as_program
from .program.drawing import draw_circuit
from .program.measurements import Measurement
from .program.observables import Layout, ObservablesLike
from .program.program import FrozenLike, Parameters
from .samples import Samples, draw_samples, find_most_likely
from .state_dicts import MarkedModule


class _Deployed(NamedTuple):
    """An execution in use: its engine as a node of torch's, and the place where it runs."""

    execution: Execution
    node: Node
    place: Place

    @classmethod
    def of(cls, program: CircuitProgram, execution: Execution) -> _Deployed:
        engine, place = make_engine(program, execution)
        return cls(execution, Node(engine), place)

    def of_program(self, program: CircuitProgram) -> _Deployed:
        """Return the same for other roles of the parameters; what is transpiled stays so."""
        execution = self.execution
        if self.place.isa_circuit is not program.circuit:
            execution = replace(execution, pass_manager=AlreadyTranspiled(self.place.isa_circuit))
        return _Deployed.of(program, execution)

    def changed(self, changes: ExecutionFields) -> Execution:
        """Return the execution with changes, with a circuit that stays on its qubits if it can.

        On the same device the circuit stays as it is transpiled, unless the changes say how to
        transpile; with the same kind of estimator its options stay.
        """
        execution = self.execution.changed(changes)
        old, new = self.execution.on_backend, execution.on_backend
        if old is None or new is None or not is_same_device(old.device, new.device):
            return execution
        if new.options is None and old.kind == new.kind:
            execution = replace(execution, backend=replace(new, options=old.options))
        anew = "backend" in changes and new.transpiles_by
        if not anew and changes.get("pass_manager") is None:
            transpiled = AlreadyTranspiled(self.place.isa_circuit)
            execution = replace(execution, pass_manager=transpiled)
        return execution

    def at_shots(self, changes: ExecutionFields) -> _Deployed:
        """Return the same with other shots; the node stays, for what was recorded with it."""
        execution = replace(self.execution, **changes)
        forward = execution.forward_precision
        self.node.set_precision(forward, execution.gradient_precision or forward)
        return self._replace(execution=execution)


class TorchQuantumModule(MarkedModule):
    r"""What is measured of a circuit, as a layer that trains together with any other.

    .. math:: y_o = \langle 0 | U^\dagger(x, w)\, O_o\, U(x, w) | 0 \rangle

    for inputs :math:`x` from the layer before and trainable weights :math:`w`; or probabilities of
    outcomes, the state itself and functions of it.

    Args:
        circuit: Any parameterized circuit, transpiled or not; or a :class:`.CircuitProgram`, such
            as another module's ``program``, which has its observables and the roles of its
            parameters and is analysed only once.
        observables: A ``SparsePauliOp``, ``Pauli``, label, mapping of labels to coefficients, or
            nested lists of these; default Z on each qubit. Or another measurement:
            :class:`.Probabilities`, :class:`.CVaR`, :class:`.Variance`, :class:`.Purity`,
            :class:`.Entropy`, :class:`.Fidelity` or :class:`.State`.
        input_params: The circuit parameters that ``forward`` receives, in the order of the
            inputs' last axis; a ``ParameterVector`` stands for its elements. Default: none.
        weight_params: The parameters that have weights. Default: every parameter that is not an
            input.
        frozen_params: Those of them that are not trained, at no cost in evaluations: parameters,
            names, or patterns of names such as ``"theta*"``. Their values are the buffer
            ``frozen_weight``; :meth:`with_frozen` freezes others.
        estimator: Any V2 estimator or sampler; a list of either, which share the rows of every
            request; or an :class:`.Exact` for the engine in this process, with a number format.
            Default: ``Exact()``, or shots sampled in this process if ``shots`` or ``precision`` is
            given. Each kind takes every measurement but for those that need the state itself.
        backend: Runs the circuit on an Aer simulator, a fake device, a device of IBM Quantum, any
            other ``BackendV2``, or in an open ``Session`` or ``Batch`` of qiskit-ibm-runtime:
            transpiled for it once, now. Fake devices are simulated on the qubits in use, with their
            noise. An :class:`.OnBackend` says more: options of the estimator there, how to
            transpile, and a :class:`.Jobs` with journal, budget and retries.
        gradient: ``"adjoint"`` (exact, from the engine in this process; the default where no
            place, shots or precision is given), ``"parameter-shift"`` (the default elsewhere),
            ``"aqgd"``, ``"finite-difference"``, ``"spsa"``; a :class:`.FiniteDifference` or
            :class:`.SimultaneousPerturbation` for options of these two; or any
            ``qiskit_algorithms.gradients.BaseEstimatorGradient`` or ``BaseSamplerGradient``
            instance. With an estimator or a sampler, ``"adjoint"`` ignores its noise: values come
            from there, gradients are exact.
        shots: Shots for every evaluation, or a :class:`.Shots` where those of gradients differ; or
        precision: the standard error for every evaluation; at most one of them.
        pass_manager: Transpiles the circuit once, now; observables are given the layout.
        initial_weights: Numbers in the order of ``weight_params``, or a mapping from parameters
            to numbers. Default: uniform in :math:`[-\pi, \pi)`, from torch's generator.
        seed: Makes the initial weights, and the shots of simulators, reproducible on their own.
        evaluation: An :class:`.Execution` with what is different while the module is in ``eval()``
            mode, for instance more shots, or mitigation only then.
        observables_layout: Whether observables given for a transpiled circuit refer to the
            ``"virtual"`` qubits before transpilation or to the ``"physical"`` ones. Default,
            ``"auto"``: their width tells, and it raises where that cannot.

    Shapes:
        Inputs ``(*batch, I)`` in radians to outputs ``(*batch, O)``, nested observables to
        ``(*batch, *nesting)``; other measurements say theirs. A circuit without inputs is called as
        ``module()``. Computed in double precision unless :class:`.Exact` says otherwise, returned
        in the dtype and on the device of the inputs; the state as complex numbers.

    Attributes:
        weight: The trained weights, shape ``(W,)``, radians; fewer if some are frozen.
        frozen_weight: Those that are frozen, a buffer; ``None`` if there are none.
        program: The :class:`.CircuitProgram` as it was given.

    Raises:
        BridgeError: One of its subclasses for anything wrong with the arguments, now; or with
            the inputs, when called; always before a job is submitted.

    Cost:
        On the exact engine one sweep over the state forward and two backward, whatever the number
        of parameters and observables. On an estimator one job with one PUB forward and one
        backward, whatever the batch and the observables; backward evaluates ``S * B`` points for
        ``B`` rows; ``S`` is two per gate angle (parameter shift), two per frequency of each
        parameter (AQGD), two per parameter (central differences), or two (SPSA). What needs no
        gradient is not evaluated.

    Example:
        >>> import torch
        >>> from qiskit.circuit import ParameterVector, QuantumCircuit
        >>> from qiskit_torch_bridge import TorchQuantumModule
        >>> x, w = ParameterVector("x", 2), ParameterVector("w", 2)
        >>> circuit = QuantumCircuit(2)
        >>> for q in range(2):
        ...     _ = circuit.ry(x[q], q), circuit.rx(w[q], q)
        >>> _ = circuit.cx(0, 1)
        >>> node = TorchQuantumModule(circuit, ["IZ", "ZI"], input_params=x)
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2), node, torch.nn.Linear(2, 1))
        >>> loss = model(torch.randn(8, 4)).pow(2).mean()
        >>> loss.backward()
        >>> node.weight.grad.shape
        torch.Size([2])
    """

    weight: nn.Parameter
    frozen_weight: Tensor | None

    def __init__(
        self,
        circuit: QuantumCircuit | CircuitProgram,
        observables: ObservablesLike | Measurement | None = None,
        *,
        input_params: Parameters | None = None,
        weight_params: Parameters | None = None,
        frozen_params: FrozenLike | None = None,
        observables_layout: Layout | None = None,
        estimator: EstimatorChoice | Sequence[Primitive] | None = None,
        backend: BackendChoice | None = None,
        gradient: GradientChoice | None = None,
        shots: int | Shots | None = None,
        precision: float | None = None,
        pass_manager: PassManager | None = None,
        initial_weights: WeightsChoice | None = None,
        seed: int | None = None,
        evaluation: Execution | None = None,
    ) -> None:
        super().__init__()
        self.program = as_program(
            circuit,
            observables,
            input_params=input_params,
            weight_params=weight_params,
            frozen_params=frozen_params,
            observables_layout=observables_layout,
        )
        execution = Execution(estimator, backend, gradient, shots, precision, pass_manager, seed)
        weights = starting_weights(self.program, initial_weights, seed)
        self._deploy(execution, evaluation)
        self._set_weights(weights)

    def _set_weights(self, weights: Tensor) -> None:
        """Make parameter and buffer of all weights ``(W,)``."""
        trained, frozen = list(self.program.trained), list(self.program.frozen)
        self.register_buffer("frozen_weight", weights[frozen] if frozen else None)
        self.weight = nn.Parameter(weights[trained] if frozen else weights)

    def join_weights(self) -> Tensor:
        """Return all weights ``(W,)`` in the order of ``program.weight_params``, frozen or not."""
        weight = self.weight
        if self.frozen_weight is None:
            return weight
        order = constant(self.program, "weight_placement", weight.device)
        return torch.cat([weight, self.frozen_weight.to(weight)])[order]

    def with_frozen(self, frozen_params: FrozenLike | None) -> TorchQuantumModule:
        """Return a module of the same circuit and weights in which other weights are frozen.

        Those that are not named are trained. Where and how it is evaluated stays. Weights, buffers
        and attributes of a subclass are copied, hooks are not. Give its ``parameters()`` to a new
        optimizer: ``weight`` has another length.

        Args:
            frozen_params: As for the module; ``None`` to train all weights.

        Raises:
            ParameterError: If a name or pattern is that of no weight, or a parameter is none.

        Example:
            >>> from qiskit.circuit import ParameterVector, QuantumCircuit
            >>> from qiskit_torch_bridge import TorchQuantumModule
            >>> a, b = ParameterVector("a", 2), ParameterVector("b", 2)
            >>> circuit = QuantumCircuit(2)
            >>> for q in range(2):
            ...     _ = circuit.ry(a[q], q), circuit.rx(b[q], q)
            >>> pretrained = TorchQuantumModule(circuit)
            >>> module = pretrained.with_frozen("a*")
            >>> module.weight.shape, module.frozen_weight.shape
            (torch.Size([2]), torch.Size([2]))
        """
        weights = self.join_weights().detach().clone()
        requires_grad = self.weight.requires_grad
        changed = self._copy_without_engines()
        changed.program = self.program.with_frozen(frozen_params)
        changed._set_weights(weights)
        changed.weight.requires_grad_(requires_grad)
        changed._redeploy(self._training, self._evaluation, self._evaluation_changes)
        return changed

    def _redeploy(
        self, training: _Deployed, evaluation: _Deployed, changes: Execution | None
    ) -> None:
        """Run where another module of the circuit runs; what was transpiled stays."""
        self._training = training.of_program(self.program)
        same = evaluation is training
        self._evaluation = self._training if same else evaluation.of_program(self.program)
        self._evaluation_changes = changes

    def _deploy(self, execution: Execution, evaluation: Execution | None) -> None:
        """Make the engines for training and for evaluation."""
        changes = {} if evaluation is None else check_evaluation(evaluation).given
        self._training = _Deployed.of(self.program, execution)
        self._evaluation = self._training
        if "estimator" in changes:  # for the circuit that was trained
            changes.setdefault("pass_manager", execution.pass_manager)
        if changes:
            different = self._training.changed(changes)
            self._evaluation = _Deployed.of(self.program, different)
        self._evaluation_changes = evaluation

    @classmethod
    def from_algorithm(
        cls, algorithm: Any, operator: Any, *, result: Any = None, **options: Any
    ) -> TorchQuantumModule:
        """Return a module with what an algorithm object holds.

        Evolutions by terms that do not commute are their product formulas in a module, also where
        the algorithm's estimator takes them for exponentials.

        Args:
            algorithm: ``VQE``, ``VQD``, ``SamplingVQE`` or ``QAOA`` of qiskit-algorithms or
                qiskit-optimization, or ``AdaptVQE`` that has run: ansatz, estimator, gradient,
                transpiler and initial point are taken from it. For one on a sampler the estimator
                on the same backend, with as many shots, takes its place; with an aggregation it
                stays, and so it does where no such estimator is known. The exact engine takes the
                place of an exact simulator, and logs it: of ``StatevectorEstimator``,
                ``BatchedStatevectorEstimator`` and Aer's ``EstimatorV2`` without precision and
                noise, and of ``StatevectorSampler`` and ``BatchedStatevectorSampler`` with their
                default number of shots, unless the gradient is one of estimates.
            operator: The operator whose expectation value the module gives; with
                ``aggregation=alpha`` its :class:`.CVaR`.
            result: What ``compute_minimum_eigenvalue`` returned: its circuit and parameters are
                then the module's, to go on training from there.
            **options: Arguments of the module that replace those of the algorithm, such as
                ``estimator=vqe.estimator`` to keep an exact simulator, or
                ``estimator=qaoa.sampler`` to measure on the sampler. With another place to run
                (``estimator``, ``backend`` ...) its gradient is not taken over: it belongs to its
                own estimator.

        Raises:
            AlgorithmTypeError: If it is not an algorithm.
            AlgorithmError: If it has no ansatz, a primitive of version 1, or something that a
                module has no counterpart for, such as a function as aggregation.

        Example:
            >>> import torch
            >>> from qiskit.primitives import StatevectorSampler
            >>> from qiskit.quantum_info import SparsePauliOp
            >>> from qiskit_algorithms import QAOA
            >>> from qiskit_algorithms.optimizers import COBYLA
            >>> from qiskit_torch_bridge import TorchQuantumModule
            >>> operator = SparsePauliOp.from_list([("IZZ", 1.0), ("ZZI", 1.0)])
            >>> qaoa = QAOA(StatevectorSampler(), COBYLA(), reps=1, initial_point=[0.1, 0.2])
            >>> module = TorchQuantumModule.from_algorithm(qaoa, operator)
            >>> optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
            >>> module.weight.shape
            torch.Size([2])
        """
        parts = read_algorithm(algorithm, operator, result, options)
        return cls(**{**parts.arguments, **options})

    @classmethod
    def from_qnn(cls, qnn: Any, **options: Any) -> TorchQuantumModule:
        """Return a module with what a network of qiskit-machine-learning holds.

        Circuit, roles of the parameters, estimator or sampler, precision and gradient are taken
        over; of an ``EstimatorQNN`` its observables, of a ``SamplerQNN`` the probabilities of its
        outcomes with ``interpret``, in the shape ``(*batch, *output_shape)``. The output is dense,
        also that of a sparse network, which is logged. The exact engine takes the place of an exact
        simulator, as in :meth:`from_algorithm`, and logs it; the precision 0.015625, which networks
        have by default, does not count then. Initial weights are those of a ``TorchConnector`` if
        you pass ``initial_weights=connector.weight``.

        Args:
            qnn: The network.
            **options: Arguments of the module that replace those of the network.

        Raises:
            AlgorithmTypeError: If it is another kind of network.
            AlgorithmError: If its primitive is of version 1, its gradient has no counterpart, or
                ``interpret`` gives something that is no output.
        """
        return cls(**{**read_qnn(qnn, options).arguments, **options})

    def to_circuit(self) -> QuantumCircuit:
        """Return the circuit as it was given, with the trained weights bound.

        Inputs stay parameters. The circuit is a copy for any other Qiskit tool: samplers,
        transpilers, drawers, QPY.

        Example:
            >>> from qiskit.circuit import Parameter, QuantumCircuit
            >>> from qiskit_torch_bridge import TorchQuantumModule
            >>> circuit = QuantumCircuit(1)
            >>> _ = circuit.ry(Parameter("theta"), 0)
            >>> TorchQuantumModule(circuit, initial_weights=[0.5]).to_circuit().data[0].params
            [0.5]
        """
        values = self.join_weights().detach().cpu().double().tolist()
        weights = dict(zip(self.program.weight_params, values, strict=True))
        return self.program.analysed.assigned(weights)

    @overload
    def bind(self, inputs: None = None) -> QuantumCircuit: ...

    @overload
    def bind(self, inputs: Any) -> Any: ...

    def bind(self, inputs: Any = None) -> Any:
        """Return the circuit with the trained weights and some inputs bound, free of parameters.

        Args:
            inputs: Shape ``(I,)``, or ``(B, I)`` for a list of ``B`` circuits; ``None`` for a
                circuit without inputs.

        Raises:
            InputError: If the inputs have another shape or are not finite.
        """
        params = self.program.input_params
        rows = _input_rows(inputs, params)
        values = self.join_weights().detach().cpu().double().tolist()
        weights = dict(zip(self.program.weight_params, values, strict=True))
        bound = [
            self.program.analysed.assigned(weights | dict(zip(params, row, strict=True)))
            for row in np.atleast_2d(rows).tolist()
        ]
        return bound if rows.ndim == 2 else bound[0]

    def forward(self, inputs: Tensor | None = None) -> Tensor:
        """Return what is measured, ``(*batch, O)``, for inputs ``(*batch, I)``."""
        return evaluate(self._deployed.node, inputs, self.join_weights())

    def submit(self, inputs: Tensor | None = None) -> PendingOutput:
        """Submit the job of a forward pass, and return at once.

        For passes that do not wait for each other: submit them all, then ask each for its
        ``result()``, which is what calling the module would have returned. On the exact engine
        the result is there at once.

        Args:
            inputs: Shape ``(*batch, I)``, as for calling the module.

        Example:
            >>> import torch
            >>> from qiskit.circuit import Parameter, QuantumCircuit
            >>> from qiskit.primitives import StatevectorEstimator
            >>> from qiskit_torch_bridge import TorchQuantumModule
            >>> x = Parameter("x")
            >>> circuit = QuantumCircuit(1)
            >>> _ = circuit.ry(x, 0)
            >>> node = TorchQuantumModule(
            ...     circuit, "Z", input_params=[x], estimator=StatevectorEstimator()
            ... )
            >>> pending = [node.submit(torch.tensor([[angle]])) for angle in (0.0, 0.5)]
            >>> [round(p.result().item(), 4) for p in pending]
            [1.0, 0.8776]
        """
        return submit(self._deployed.node, inputs, self.join_weights())

    def sample(self, inputs: Tensor | None = None, shots: int | None = None) -> Samples:
        """Return outcomes of the qubits, drawn where the module is evaluated.

        Whatever the module gives, all qubits of the circuit as it was given are measured at its
        end, in the basis of Z; of modules that give :class:`.Probabilities` or a :class:`.CVaR`
        those that they measure, in their order. Shots are new at each call, and independent in
        each row; only a sampler that was given with a fixed seed may repeat them.

        On the exact engine they are drawn in this process, seeded by the module's seed; on a
        sampler, by that one; on a backend, by a sampler for the circuit as it is transpiled,
        with the module's journal and budget. Beside an estimator it is the sampler that goes
        with it: on the same backend and with the same noise.

        Args:
            inputs: Shape ``(*batch, I)``, as for calling the module.
            shots: Shots for each row; default: those of a forward pass, or of the sampler.

        Returns:
            Bits ``(*batch, shots, n)``, Qiskit's ``BitArray`` and counts; see :class:`.Samples`.

        Raises:
            BridgeError: One of its subclasses for anything that is wrong, before a job is
                submitted: :class:`.MeasurementError` if no sampler is known that goes with an
                estimator, :class:`.TracingError` under ``torch.compile``.

        Cost:
            One job, with a point for each row. There is no gradient.

        Example:
            >>> import torch
            >>> from qiskit.circuit import Parameter, QuantumCircuit
            >>> from qiskit_torch_bridge import TorchQuantumModule
            >>> x = Parameter("x")
            >>> circuit = QuantumCircuit(2)
            >>> _ = circuit.ry(x, 0)
            >>> module = TorchQuantumModule(circuit, "XX", input_params=[x])
            >>> module.sample(torch.tensor([[0.0], [torch.pi]]), shots=10).counts()
            [{'00': 10}, {'01': 10}]
        """
        return draw_samples(self.program, self._deployed, inputs, self.join_weights(), shots)

    def most_likely(self, inputs: Tensor | None = None, shots: int | None = None) -> Tensor:
        """Return the likeliest outcome for each row as bits ``(*batch, n)``, of dtype int8.

        Entry ``k`` is the bit of qubit ``k``; which qubits there are is as for :meth:`sample`. On
        the exact engine it is the outcome of the largest probability, without any shots unless some
        are asked for; of more qubits than a state vector holds it is searched for along the columns
        of the circuit. Elsewhere it is the outcome found most often. Of several that are equal, it
        is the smallest as a number.

        Args:
            inputs: Shape ``(*batch, I)``, as for calling the module.
            shots: Shots for each row; default: none on the exact engine, elsewhere as for
                :meth:`sample`.

        Raises:
            BridgeError: As :meth:`sample`, and :class:`.MemoryLimitError` if the probabilities of
                a row do not fit into memory, and of many qubits none stands out.

        Example:
            >>> from qiskit.circuit import Parameter, QuantumCircuit
            >>> from qiskit_torch_bridge import TorchQuantumModule
            >>> circuit = QuantumCircuit(2)
            >>> _ = circuit.ry(Parameter("a"), 1)
            >>> TorchQuantumModule(circuit, initial_weights=[2.0]).most_likely()
            tensor([0, 1], dtype=torch.int8)
        """
        return find_most_likely(self.program, self._deployed, inputs, self.join_weights(), shots)

    @property
    def _deployed(self) -> _Deployed:
        return self._training if self.training else self._evaluation

    @property
    def execution(self) -> Execution:
        """Where and how it is evaluated in the present mode, as it was chosen. Read-only."""
        return self._deployed.execution

    @property
    def shots(self) -> int | None:
        """The shots of a forward pass in the present mode; ``None`` if none were asked for.

        They can be set: a number, or a :class:`.Shots` where those of gradients differ, holds from
        now on; ``None`` stands for the estimator's default. In ``eval()`` mode it holds as well,
        unless ``evaluation`` names shots or a precision.

        Raises:
            PrecisionError: If they are not positive whole numbers, or it computes exactly.
        """
        return self.execution.forward_shots

    @shots.setter
    def shots(self, shots: int | Shots | None) -> None:
        if shots is not None and self.estimator is None:
            raise PrecisionError(
                "The exact engine measures nothing, so it takes no shots. Move the module: "
                f"module.with_backend(shots={shown(shots)}), or make it with shots=."
            )
        changes: ExecutionFields = {"shots": shots, "precision": None}
        own = self._evaluation_changes
        follows = own is None or not own.samples
        together = self._evaluation is self._training
        self._training = self._training.at_shots(changes)
        if together:
            self._evaluation = self._training
        elif follows:
            self._evaluation = self._evaluation.at_shots(changes)

    @property
    def circuit(self) -> QuantumCircuit:
        """The circuit as it is submitted: transpiled if a pass manager was given. Read-only."""
        return self._deployed.node.program.circuit

    def cost(
        self,
        batch_size: Any = 1,
        *,
        backward: bool = True,
        input_gradients: bool = False,
        steps: int = 1,
    ) -> Cost:
        """Return what steps of a training will cost, without running anything.

        Args:
            batch_size: The rows of the inputs.
            backward: Whether a backward pass follows.
            input_gradients: Whether it goes on to a layer before this one.
            steps: How many steps there are. Costs are added and multiplied as well:
                ``60 * step + evaluation``, ``sum(module.cost(b) for b in sizes)``.

        Returns:
            Jobs, PUBs, points, circuits and shots as a :class:`.Tracker` will count them; bytes to
            send; and seconds on the device, where it has durations. On the exact engine there are
            no jobs: the method that simulates, operations and bytes of memory.

        Raises:
            InputError: If ``batch_size`` or ``steps`` is not a positive whole number.
            GradientError: If the gradient is another package's, for ``backward=True``.
        """
        batch_size = require_whole_number(batch_size, "batch_size", 1)
        require_bool(backward, "backward")
        require_bool(input_gradients, "input_gradients")
        steps = require_whole_number(steps, "steps", 1)
        node, place = self._deployed.node, self._deployed.place
        columns: tuple[int, ...] | None = None
        if backward:
            program = node.program
            columns = program.input_columns if input_gradients else ()
            columns += program.trained_columns if self.weight.requires_grad else ()
        cost = estimate_cost(
            node.engine.plan(batch_size, columns), place.isa_circuit, place.backend
        )
        simulates = backward or self.estimator is None
        simulation = node.simulation(batch_size) if simulates else None
        return steps * replace(cost, simulation=simulation)

    @property
    def last_stds(self) -> Tensor | None:
        """Standard errors ``(B, *output_shape)`` of the last outputs; ``None`` if none were given.

        What they mean is the primitive's: estimated from shots, the requested precision (Aer), or
        an upper bound (``BackendEstimatorV2``). Those of frequencies are multinomial.
        """
        last = self._deployed.node.last
        stds = last.stds
        if stds is not None and last.values is not None:
            stds = complete_errors(self.program.measurement, last.values, stds)
        if stds is None:
            return None
        return torch.from_numpy(stds.copy()).reshape(len(stds), *self.program.output_shape)

    @property
    def last_gradient_stds(self) -> Tensor | None:
        """Standard errors of the trained weights' last gradient, propagated from its evaluations.

        ``None`` for gradients without evaluations. Observables of one point count as independent.
        """
        stds = self._deployed.node.last.gradient
        return None if stds is None else torch.from_numpy(stds.copy())

    def draw(self, output: str = "text") -> Any:
        """Return a drawing of the circuit: what is evaluated, with its parameters.

        Args:
            output: ``"text"``; or ``"mpl"``, ``"latex"`` or ``"latex_source"``, which need packages
                that Qiskit names. ``module.circuit.draw`` has more options, and
                ``module.isa_circuit.draw`` shows what a backend is sent.

        Raises:
            InputError: If it is something else, or such a package is missing.

        Example:
            >>> from qiskit.circuit import Parameter, QuantumCircuit
            >>> from qiskit_torch_bridge import TorchQuantumModule
            >>> circuit = QuantumCircuit(1)
            >>> _ = circuit.ry(Parameter("theta"), 0)
            >>> print(TorchQuantumModule(circuit).draw())
               ┌───────────┐
            q: ┤ Ry(theta) ├
               └───────────┘
        """
        return draw_circuit(self.circuit, output)

    @property
    def isa_circuit(self) -> QuantumCircuit:
        """The circuit in the backend's own instructions, with its layout. Read-only.

        On a fake device :attr:`circuit` is the part of it that is simulated.
        """
        return self._deployed.place.isa_circuit

    def with_backend(
        self,
        backend: BackendChoice | None = None,
        *,
        evaluation: Execution | None = None,
        **changes: Unpack[HowFields],
    ) -> TorchQuantumModule:
        """Return a module of the same circuit and weights that runs elsewhere.

        What ``changes`` do not name stays: gradient (if it was chosen by name), shots, precision
        and seed; the number format, as long as the module computes exactly; journal and budget
        wherever jobs are run. On the same device, in a session for instance, the circuit stays as
        it is transpiled, and with the same kind of estimator its options and ``evaluation`` stay as
        well. Weights, buffers and attributes of a subclass are copied: training one module does not
        change the other. Hooks are not.

        Args:
            backend: The backend, as for the module; ``None`` with ``estimator=`` in the changes,
                or for the exact engine.
            evaluation: As for the module.
            **changes: Fields of :class:`.Execution`.

        Raises:
            BridgeError: One of its subclasses for anything that is wrong.

        Example:
            >>> from qiskit.circuit import Parameter, QuantumCircuit
            >>> from qiskit.providers.fake_provider import GenericBackendV2
            >>> from qiskit_torch_bridge import TorchQuantumModule
            >>> circuit = QuantumCircuit(1)
            >>> _ = circuit.ry(Parameter("theta"), 0)
            >>> trained = TorchQuantumModule(circuit, initial_weights=[0.5])
            >>> noisy = trained.with_backend(GenericBackendV2(2, seed=1), shots=1000, seed=2)
            >>> abs(noisy().item() - trained().item()) < 0.2
            True
        """
        known = set(HowFields.__annotations__)
        unknown = sorted(set(changes) - known)
        if unknown:
            raise InputError(
                f"Expected changes of with_backend to be fields of an Execution; got {unknown}. "
                f"It takes {', '.join(sorted({*known, 'evaluation'}))}."
            )
        fields: ExecutionFields = {"backend": backend, **changes}
        execution = self._training.changed(fields)
        old, new = self._training.execution.on_backend, execution.on_backend
        if evaluation is None and old is not None and new is not None and old.kind == new.kind:
            stays = is_same_device(old.device, new.device)
            evaluation = self._evaluation_changes if stays else None
        moved = self._copy_without_engines()
        moved._deploy(execution, evaluation)
        return moved

    def _copy_without_engines(self) -> TorchQuantumModule:
        """Return a copy with all parameters, buffers and attributes, but no hooks and no engines.

        Hooks belong to what watches this module: an optimizer, a profiler.
        """
        copied = type(self).__new__(type(self))
        nn.Module.__init__(copied)
        own = {"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "training"}
        left = (set(copied.__dict__) - own) | {"_training", "_evaluation"}
        memo: dict[int, Any] = {id(self): copied}
        for key, value in self.__dict__.items():
            if key not in left:
                copied.__dict__[key] = copy.deepcopy(value, memo)
        return copied

    @property
    def estimator(self) -> Primitive | None:
        """The estimator or sampler that evaluates; ``None`` for the exact engine."""
        return self._deployed.place.primitive

    @property
    def gradient(self) -> str:
        """The name of the gradient in use, with its settings."""
        return self._deployed.node.engine.gradient_name

    @property
    def precision(self) -> float | None:
        """The precision requested in a forward pass; ``None`` for the estimator's default."""
        return self._deployed.node.engine.precision

    def extra_repr(self) -> str:
        """Describe the node as ``print`` shows it."""
        program, method = self.program, self._deployed.node.method
        return ", ".join(
            (
                f"qubits={self.circuit.num_qubits}",
                f"inputs={len(program.input_params)}",
                f"weights={len(program.trained_params)}",
                *([f"frozen={len(program.frozen_params)}"] if program.frozen_params else []),
                _shorten(program.measured),
                *self.execution.settings(self.estimator, self.gradient, method),
            )
        )

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        refuse_onnx()  # what exports by tracing begins with the state
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def __prepare_scriptable__(self) -> Any:
        raise TracingError(
            "torch.jit.script cannot compile qiskit_torch_bridge: it reads Python's source, and "
            "circuits are no part of TorchScript. Use torch.compile or torch.export, or "
            "torch.jit.trace for programs that run in this process."
        )

    def __getstate__(self) -> dict[str, Any]:
        try:
            pickle.dumps((self._training, self._evaluation))
        except Exception as error:
            raise EstimatorTypeError(
                f"{type(self.estimator).__name__} or the gradient cannot be pickled ({error}). "
                "Save module.state_dict() instead, and create the module where it is loaded."
            ) from error
        return self.__dict__

    def __deepcopy__(self, memo: dict[int, Any]) -> TorchQuantumModule:
        # Written out, since a deep copy shares the estimator and must not try to pickle it.
        result = type(self).__new__(type(self))
        memo[id(self)] = result
        for key, value in self.__dict__.items():
            result.__dict__[key] = copy.deepcopy(value, memo)
        return result


def _input_rows(inputs: Any, params: tuple[Parameter, ...]) -> Any:
    """Return inputs ``(I,)`` or ``(B, I)`` as an array."""
    count = len(params)
    if inputs is None and not count:
        return np.zeros(0)
    rows = np.asarray(np.nan)
    with contextlib.suppress(*UNREADABLE):
        if isinstance(inputs, Tensor) and not inputs.is_complex():
            rows = inputs.detach().cpu().double().numpy()
        elif not np.iscomplexobj(inputs):
            rows = np.asarray(inputs, dtype=float)
    if rows.ndim not in (1, 2) or rows.shape[-1] != count or not np.isfinite(rows).all():
        raise InputError(
            f"Expected finite inputs of shape ({count},) or (B, {count}); got {shown(inputs)}. The "
            f"circuit's inputs are {', '.join(p.name for p in params) or '(none)'}."
        )
    return rows


def _shorten(text: str, width: int = 72) -> str:
    return text if len(text) <= width else text[: width - 4] + "..." + text[-1]
