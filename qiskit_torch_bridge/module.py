# SPDX-License-Identifier: Apache-2.0
"""A parameterized circuit as a ``torch.nn.Module``."""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from torch import Tensor, nn

from .algorithms import arguments_of_algorithm, arguments_of_qnn
from .arguments import UNREADABLE, flag, shown, whole_number
from .autograd import recorded  # noqa: F401 - its operators are called by name
from .backends import OnBackend
from .backends.on_backend import is_same_device
from .backends.prepare import AlreadyTranspiled
from .engines import EstimatorEngine, StatevectorEngine, make_engine, make_evaluation_engine
from .engines.evaluation import check_evaluation
from .exceptions import EstimatorTypeError, InputError, PrecisionError, TracingError
from .functional import PendingOutput, evaluate, refuse_onnx, submitted
from .initial_weights import initial_weights as starting_weights
from .jobs import DispatchingEstimator
from .jobs.budget import Cost, estimate_cost
from .primitives import validated_precision
from .program import CircuitProgram
from .rules.options import named
from .state_dicts import check_marks, check_weights, mark, refuse_old

PLACE = (
    "estimator", "estimators", "backend", "mode", "backend_options", "optimization_level",
    "seed_transpiler", "pass_manager", "dtype", "journal", "budget",
)  # fmt: skip
"""The arguments that say where a circuit runs, and how it is watched over there."""
MEASUREMENT = ("gradient", "shots", "precision", "gradient_shots", "seed")
"""The arguments that say how it is measured, wherever that is."""


class TorchQuantumModule(nn.Module):
    r"""Expectation values of a circuit as a layer that trains together with any other.

    .. math:: y_o = \langle 0 | U^\dagger(x, w)\, O_o\, U(x, w) | 0 \rangle

    for inputs :math:`x` from the layer before and trainable weights :math:`w`.

    Args:
        circuit: Any parameterized circuit of unitary gates, transpiled or not.
        observables: A ``SparsePauliOp``, ``Pauli``, label, mapping of labels to coefficients, or
            nested lists of these; default Z on each qubit.
        input_params: The circuit parameters that ``forward`` receives, in the order of the
            inputs' last axis; a ``ParameterVector`` stands for its elements. Default: none.
        weight_params: The trainable parameters. Default: every parameter that is not an input.
        estimator: Any V2 estimator. Default: the exact engine in this process, or sampled
            shots from a :class:`.BatchedStatevectorEstimator` if ``shots`` or ``precision`` is
            given.
        gradient: ``"adjoint"`` (exact, from the engine in this process; the default where no
            estimator, shots or precision is given), ``"parameter-shift"`` (the default
            elsewhere), ``"aqgd"``, ``"finite-difference"``, ``"spsa"``; a
            :class:`.FiniteDifference` or :class:`.SimultaneousPerturbation` for options of these
            two; or any ``qiskit_algorithms.gradients.BaseEstimatorGradient`` instance. With an
            estimator, ``"adjoint"`` ignores its noise: values come from the estimator, gradients
            are exact.
        shots: Shots for every evaluation, forward and backward, or
        precision: the standard error for every evaluation; at most one of them.
        pass_manager: Transpiles the circuit once, now; observables are given the layout.
        initial_weights: Numbers in the order of ``weight_params``, or a mapping from parameters
            to numbers. Default: uniform in :math:`[-\pi, \pi)`, from torch's generator.
        seed: Makes the initial weights, and the shots of the default estimator, reproducible on
            their own.
        dtype: ``"complex64"`` makes the exact engine compute in single precision, in half of the
            memory and time; default ``"complex128"``.
        backend: Runs the circuit on an Aer simulator, a fake device, a device of IBM Quantum or
            any other ``BackendV2``: transpiled for it once, now. Fake devices are simulated on the
            qubits in use, with their noise.
        mode: An open ``Session`` or ``Batch`` of qiskit-ibm-runtime to run in; none is opened here.
        backend_options: Options of the backend's estimator, passed on to it: mitigation, shots
            and so on.
        optimization_level: Of the transpilation for ``backend``, 0 to 3; default 1.
        seed_transpiler: Makes it reproducible.
        gradient_shots: Shots for the evaluations of gradients, if not the same.
        estimators: Several V2 estimators instead of one: the rows of every request are divided
            among them, and what fails on one is done by another.
        journal: A path: requests, job ids and results are written there before anything else
            happens, and a program that is started again does not pay for them twice; see
            :class:`.Journal`.
        budget: The most shots in total, or a :class:`.Usage` of limits; the step that would exceed
            it raises :class:`.BudgetError` before it is submitted.
        evaluation: Arguments that replace the others while the module is in ``eval()`` mode:
            ``shots``, ``precision``, ``backend_options`` and so on, for instance more shots, or
            mitigation only then.
        observables_layout: Whether observables given for a transpiled circuit refer to the
            ``"virtual"`` qubits before transpilation or to the ``"physical"`` ones; ``"auto"``
            tells by their width and raises where it cannot.

    Shapes:
        Inputs ``(*batch, I)`` in radians to outputs ``(*batch, O)``, nested observables to
        ``(*batch, *nesting)``. A circuit without inputs is called as ``module()``. Computed in
        double precision unless ``dtype`` says otherwise, returned in the dtype and on the device
        of the inputs.

    Attributes:
        weight: The trainable parameters, shape ``(W,)``, radians.
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

    def __init__(
        self,
        circuit: QuantumCircuit,
        observables: Any = None,
        *,
        input_params: Any = None,
        weight_params: Any = None,
        estimator: Any = None,
        gradient: Any = None,
        shots: int | None = None,
        precision: float | None = None,
        pass_manager: Any = None,
        initial_weights: Any = None,
        seed: int | None = None,
        observables_layout: Any = "auto",
        dtype: Any = None,
        backend: Any = None,
        mode: Any = None,
        backend_options: Mapping[str, Any] | None = None,
        optimization_level: int | None = None,
        seed_transpiler: int | None = None,
        gradient_shots: int | None = None,
        estimators: Sequence[Any] | None = None,
        journal: Any = None,
        budget: Any = None,
        evaluation: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.program = CircuitProgram(
            circuit,
            observables,
            input_params=input_params,
            weight_params=weight_params,
            observables_layout=observables_layout,
        )
        choices = {
            "gradient": gradient,
            "shots": shots,
            "precision": precision,
            "gradient_shots": gradient_shots,
            "seed": seed,
            "estimator": estimator,
            "pass_manager": pass_manager,
            "dtype": dtype,
            "backend": backend,
            "mode": mode,
            "backend_options": backend_options,
            "optimization_level": optimization_level,
            "seed_transpiler": seed_transpiler,
            "estimators": estimators,
            "journal": journal,
            "budget": budget,
        }
        weights = starting_weights(self.program, initial_weights, seed)
        self._set_engines(choices, evaluation)
        self.weight = nn.Parameter(weights)

    def _set_engines(
        self, choices: Mapping[str, Any], evaluation: Mapping[str, Any] | None
    ) -> None:
        if evaluation is not None:
            check_evaluation(choices, evaluation)
        self._training_engine = make_engine(self.program, **choices)
        self._evaluation_engine = self._training_engine
        if evaluation is not None:
            self._evaluation_engine = make_evaluation_engine(
                self.program, self._training_engine, choices, evaluation
            )
        #: What :meth:`with_backend` keeps: anywhere, and as long as the numbers are exact.
        self._kept = {name: choices[name] for name in MEASUREMENT}
        if not named(self._kept["gradient"]):
            self._kept["gradient"] = None
        self._kept_exact = {"dtype": choices["dtype"]}
        #: What it keeps on the same device.
        self._kept_there = {
            "backend_options": choices["backend_options"],
            "evaluation": evaluation,
        }

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
                transpiler and initial point are taken from it. For one on a sampler an estimator
                on the same backend, with as many shots, takes its place. The exact engine takes
                that of an exact simulator, and logs it: of ``StatevectorEstimator``,
                ``BatchedStatevectorEstimator`` and Aer's ``EstimatorV2`` without precision and
                noise, and of ``StatevectorSampler`` with its default number of shots, unless the
                gradient is one of estimates or a journal or budget is given.
            operator: The operator whose expectation value the module gives.
            result: What ``compute_minimum_eigenvalue`` returned: its circuit and parameters are
                then the module's, to go on training from there.
            **options: Arguments of the module that replace those of the algorithm, such as
                ``estimator=vqe.estimator`` to keep an exact simulator. With another place to run
                (``estimator``, ``backend`` ...) its gradient is not taken over: it belongs to its
                own estimator.

        Raises:
            AlgorithmTypeError: If it is not an algorithm.
            AlgorithmError: If it has no ansatz, a primitive of version 1, or something that a
                module has no counterpart for, such as an aggregation.

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
        return cls(**{**arguments_of_algorithm(algorithm, operator, result, options), **options})

    @classmethod
    def from_qnn(cls, qnn: Any, **options: Any) -> TorchQuantumModule:
        """Return a module with what an ``EstimatorQNN`` of qiskit-machine-learning holds.

        Circuit, observables, roles of the parameters, estimator, precision and gradient are taken
        over. The exact engine takes the place of an exact simulator, as in :meth:`from_algorithm`,
        and logs it; the precision 0.015625, which networks have by default, does not count then.
        Initial weights are those of a ``TorchConnector`` if you pass
        ``initial_weights=connector.weight``.

        Args:
            qnn: The network.
            **options: Arguments of the module that replace those of the network.

        Raises:
            AlgorithmTypeError: If it is another kind of network.
            AlgorithmError: If its primitive is of version 1 or its gradient has no counterpart.
        """
        return cls(**{**arguments_of_qnn(qnn, options), **options})

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
        values = self.weight.detach().cpu().double().tolist()
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
        values = self.weight.detach().cpu().double().tolist()
        weights = dict(zip(self.program.weight_params, values, strict=True))
        bound = [
            self.program.analysed.assigned(weights | dict(zip(params, row, strict=True)))
            for row in np.atleast_2d(rows).tolist()
        ]
        return bound if rows.ndim == 2 else bound[0]

    def forward(self, inputs: Tensor | None = None) -> Tensor:
        """Return expectation values ``(*batch, O)`` for inputs ``(*batch, I)``."""
        return evaluate(self._engine, inputs, self.weight)

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
        return submitted(self._engine, inputs, self.weight)

    @property
    def _engine(self) -> EstimatorEngine:
        return self._training_engine if self.training else self._evaluation_engine

    @property
    def shots(self) -> int | None:
        """The shots of every evaluation in the present mode; ``None`` if none were asked for.

        Setting them is :meth:`set_shots`, with those of gradients as they are.
        """
        return self._engine.shots

    @shots.setter
    def shots(self, shots: int | None) -> None:
        self.set_shots(shots, self._kept["gradient_shots"])

    def set_shots(self, shots: int | None, gradient_shots: int | None = None) -> None:
        """Measure with other shots from now on.

        Args:
            shots: Shots for every evaluation, ``None`` for the estimator's default; also in
                ``eval()`` mode, unless ``evaluation`` names shots or a precision.
            gradient_shots: Shots for those of gradients; default: the same.

        Raises:
            PrecisionError: If they are not positive whole numbers, or it computes exactly.
        """
        if shots is not None and type(self._training_engine) is StatevectorEngine:
            engine = self._training_engine
            if not engine.samples:
                raise PrecisionError(
                    "The exact engine measures nothing, so it takes no shots. Move the module: "
                    f"module.with_backend(shots={shown(shots)}), or make it with shots=."
                )
        precision = validated_precision(shots, None)
        for_gradient = validated_precision(gradient_shots, None) or precision
        self._training_engine.set_precision(precision, for_gradient, shots)
        evaluation = self._kept_there["evaluation"] or {}
        if not {"shots", "precision", "gradient_shots"} & set(evaluation):
            self._evaluation_engine.set_precision(precision, for_gradient, shots)
        self._kept.update(shots=shots, precision=None, gradient_shots=gradient_shots)

    @property
    def circuit(self) -> QuantumCircuit:
        """The circuit as it is submitted: transpiled if a pass manager was given. Read-only."""
        return self._engine.program.circuit

    def cost(
        self, batch_size: Any = 1, *, backward: bool = True, input_gradients: bool = False
    ) -> Cost:
        """Return what a step will cost, without running anything.

        Args:
            batch_size: The rows of the inputs.
            backward: Whether a backward pass follows.
            input_gradients: Whether it goes on to a layer before this one.

        Returns:
            Jobs, PUBs, points, circuits and shots as a :class:`.Tracker` will count them; bytes to
            send; and seconds on the device, where it has durations. On the exact engine there are
            no jobs.

        Raises:
            InputError: If ``batch_size`` is not a positive whole number.
            GradientError: If the gradient is another package's, for ``backward=True``.
        """
        batch_size = whole_number(batch_size, "batch_size", 1)
        flag(backward, "backward")
        flag(input_gradients, "input_gradients")
        columns: tuple[int, ...] | None = None
        if backward:
            program = self._engine.program
            columns = program.input_columns if input_gradients else ()
            columns += program.weight_columns if self.weight.requires_grad else ()
        requests = self._engine.planned(batch_size, columns)
        return estimate_cost(requests, self.isa_circuit, self._engine.backend)

    @property
    def last_stds(self) -> Tensor | None:
        """Standard errors ``(B, *output_shape)`` of the last outputs; ``None`` if none were given.

        What they mean is the primitive's: estimated from shots, the requested precision (Aer), or
        an upper bound (``BackendEstimatorV2``).
        """
        stds = self._engine.last_stds
        if stds is None:
            return None
        return torch.from_numpy(stds.copy()).reshape(len(stds), *self.program.output_shape)

    @property
    def last_gradient_stds(self) -> Tensor | None:
        """Standard errors ``(W,)`` of the weights' last gradient, propagated from its evaluations.

        ``None`` for gradients without evaluations. Observables of one point count as independent.
        """
        stds = self._engine.last_gradient_stds
        return None if stds is None else torch.from_numpy(stds.copy())

    @property
    def isa_circuit(self) -> QuantumCircuit:
        """The circuit in the backend's own instructions, with its layout. Read-only.

        On a fake device :attr:`circuit` is the part of it that is simulated.
        """
        return self._engine.isa_circuit

    def with_backend(self, backend: Any = None, **options: Any) -> TorchQuantumModule:
        """Return a module of the same circuit and weights that runs elsewhere.

        What ``options`` do not name stays: gradient (if it was chosen by name), shots, precision
        and seed; the dtype, as long as the module computes exactly; journal and budget wherever
        jobs are run. On the same device, in a session for instance, the circuit stays as it is
        transpiled, and with the same kind of estimator ``backend_options`` and ``evaluation`` stay
        as well. Weights, buffers and attributes
        of a subclass are copied: training one module does not change the other. Hooks are not.

        Args:
            backend: The backend, as for the module; ``None`` with ``estimator=`` or ``mode=`` in
                the options, or for the exact engine.
            **options: ``estimator``, ``mode``, ``backend_options``, ``optimization_level``,
                ``seed_transpiler``, ``pass_manager``, ``gradient``, ``shots``, ``precision``,
                ``gradient_shots``, ``seed``, ``dtype``, ``estimators``, ``journal``, ``budget``,
                ``evaluation``.

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
        nothing = dict.fromkeys((*PLACE, *MEASUREMENT))
        unknown = sorted(set(options) - {*nothing, "evaluation"})
        if unknown:
            raise InputError(
                f"Expected options of with_backend to be arguments of the module; got {unknown}. "
                f"It takes {', '.join(sorted({*nothing, 'evaluation'}))}."
            )
        kept = dict(self._kept)
        if options.get("shots") is not None or options.get("precision") is not None:
            kept.update(shots=None, precision=None)
        at = self._kept_at(backend, options)
        choices = {**nothing, **kept, "backend": backend, **at, **options}
        evaluation = choices.get("evaluation")
        sampled = ("estimator", "estimators", "mode", "shots", "precision", "gradient_shots")
        if backend is None and all(choices[name] is None for name in sampled):
            choices = {**choices, **self._kept_exact, **options}
            choices["backend"] = None
        if kept["gradient"] == "adjoint" and "gradient" not in options and backend is not None:
            choices["gradient"] = None  # on a backend the gradient is measured unless asked for
        choices.pop("evaluation", None)
        moved = self._copied_without_engines()
        moved._set_engines(choices, evaluation)
        return moved

    def _copied_without_engines(self) -> TorchQuantumModule:
        """Return a copy with all parameters, buffers and attributes, but no hooks and no engines.

        Hooks belong to what watches this module: an optimizer, a profiler.
        """
        copied = type(self).__new__(type(self))
        nn.Module.__init__(copied)
        own = {"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "training"}
        left = (set(copied.__dict__) - own) | {"_training_engine", "_evaluation_engine"}
        memo: dict[int, Any] = {id(self): copied}
        for key, value in self.__dict__.items():
            if key not in left:
                copied.__dict__[key] = copy.deepcopy(value, memo)
        return copied

    def _kept_at(self, backend: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return what stays, at another place, as far as options do not say otherwise.

        Journal and budget go along to wherever jobs are run; on the same device the circuit stays
        as it is transpiled, and the options of its estimator where that is the same.
        """
        engine, mode = self._training_engine, options.get("mode")
        result: dict[str, Any] = {}
        somewhere = (backend, mode, options.get("estimator"), options.get("estimators"))
        if isinstance(engine.estimator, DispatchingEstimator) and any(
            place is not None for place in somewhere
        ):
            result["journal"] = engine.estimator.journal
            result["budget"] = engine.estimator.budget if engine.is_limited else None
        if engine.backend is None or (backend is None and mode is None):
            return result
        here = OnBackend.coerce(backend if mode is None else mode)
        if is_same_device(engine.backend, here.device):
            if "pass_manager" not in options and not here.transpiles_by:
                result["pass_manager"] = AlreadyTranspiled(engine.isa_circuit)
            before = OnBackend.coerce(engine.mode)
            if before.kind == here.kind:
                result.update(self._kept_there)
                if here.options is None:
                    result["backend"] = replace(here, options=before.options)
        return result

    @property
    def estimator(self) -> Any:
        """The estimator that evaluates the forward pass."""
        return self._engine.estimator

    @property
    def gradient(self) -> str:
        """The name of the gradient in use."""
        return self._engine.gradient_name

    @property
    def precision(self) -> float | None:
        """The precision requested in every evaluation; ``None`` for the estimator's default."""
        return self._engine.precision

    def extra_repr(self) -> str:
        """Describe the node as ``print`` shows it."""
        program = self.program
        noise = "default" if self.precision is None else f"{self.precision:.3g}"
        if self.shots is not None:
            noise += f" ({self.shots} shots)"
        return ", ".join(
            (
                f"qubits={self.circuit.num_qubits}",
                f"inputs={len(program.input_params)}",
                f"weights={len(program.weight_params)}",
                f"observables={_short(repr(program).partition('observables=')[2][:-1])}",
                f"estimator={type(self.estimator).__name__}",
                f"gradient={self.gradient}",
                f"precision={noise}",
            )
        )

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        refuse_onnx()  # what exports by tracing begins with the state
        super()._save_to_state_dict(destination, prefix, keep_vars)
        mark(getattr(destination, "_metadata", None), prefix, self.program)

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        *args: Any,
    ) -> None:
        # Before any weight is copied: a mismatch must leave the module as it was.
        refuse_old(state_dict, prefix)
        check_marks(self.program, local_metadata)
        check_weights(state_dict.get(f"{prefix}weight"))
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def __prepare_scriptable__(self) -> Any:
        raise TracingError(
            "torch.jit.script cannot compile qiskit_torch_bridge: it reads Python's source, and "
            "circuits are no part of TorchScript. Use torch.compile or torch.export, or "
            "torch.jit.trace for programs that run in this process."
        )

    def __getstate__(self) -> dict[str, Any]:
        try:
            pickle.dumps(self._engine)
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


def _short(text: str, width: int = 60) -> str:
    return text if len(text) <= width else text[: width - 4] + "...]"
