# SPDX-License-Identifier: Apache-2.0
"""The errors of the bridge: each names what was expected, what arrived and what to do.

All of them derive from :class:`BridgeError`. Those about a value also derive from
:class:`ValueError`, those about a type from :class:`TypeError`, so that code written for plain
Python errors keeps working.
"""

from __future__ import annotations


class BridgeError(Exception):
    """Base of every error that this package raises on purpose."""


class CircuitError(BridgeError, ValueError):
    """A circuit cannot be differentiated or run as it is."""


class ExpressionError(CircuitError):
    """A parameter expression is complex, singular at the values given, or miscomputed."""


class ObservableError(BridgeError, ValueError):
    """An observable does not fit the circuit or is not Hermitian."""


class MeasurementError(BridgeError, ValueError):
    """What is asked of the state does not fit the circuit, or cannot be measured where it runs."""


class ParameterError(BridgeError, ValueError):
    """A parameter is foreign, missing, listed twice or listed in two roles."""


class InputError(BridgeError, ValueError):
    """Inputs or weights have the wrong shape or are not finite."""


class InputTypeError(BridgeError, TypeError):
    """Inputs or weights have a type or dtype that cannot be an angle."""


class GradientError(BridgeError, ValueError):
    """A gradient method is unknown, misconfigured or not applicable to this circuit."""


class HigherOrderError(BridgeError, RuntimeError):
    """A gradient was differentiated more often than its method allows."""


class TracingError(BridgeError, RuntimeError):
    """PyTorch asks for a form of a module, or for a kind of tensor, that it cannot have."""


class EstimatorTypeError(BridgeError, TypeError):
    """Something that is not a V2 estimator primitive was given as one."""


class SamplerTypeError(BridgeError, TypeError):
    """Something that is not a V2 sampler primitive was given as one."""


class PrecisionError(BridgeError, ValueError):
    """Shots or precision are not positive, or both were given."""


class ExecutionError(BridgeError, RuntimeError):
    """An estimator or a sampler failed while it ran a job; its own error is chained."""


class ResultError(BridgeError, ValueError):
    """A primitive returned values or outcomes that are missing, misshapen or not finite."""


class StateDictError(BridgeError, ValueError):
    """A saved state belongs to another circuit, another measurement or other roles."""


class MemoryLimitError(BridgeError, MemoryError):
    """An exact simulation needs more memory than there is."""


class DeviceError(BridgeError, RuntimeError):
    """A device is not there, cannot do what is asked of it, or does not hold all tensors."""


class OptimizerError(BridgeError, ValueError):
    """An optimizer was given a keyword or a value that it cannot use."""


class OptimizerTypeError(BridgeError, TypeError):
    """Something that is not an optimizer, or not of the kind expected, was given as one."""


class AlgorithmError(BridgeError, ValueError):
    """An algorithm object cannot be turned into a module as it is."""


class MissingPackageError(BridgeError, ImportError):
    """A package that is not installed along with this one is needed, and cannot be imported."""


class AlgorithmTypeError(BridgeError, TypeError):
    """An object of an unknown kind was given as an algorithm or a network."""


class ObjectiveError(BridgeError, RuntimeError):
    """An objective returned something that is not a finite number; what was found is kept.

    Attributes:
        best_point: The best point before, or ``None`` if there was none.
        best_value: The value there.
    """

    def __init__(
        self, message: str, best_point: object = None, best_value: float | None = None
    ) -> None:
        super().__init__(message)
        self.best_point = best_point
        self.best_value = best_value


class BackendError(BridgeError, ValueError):
    """A backend, a mode or their options cannot be used as given."""


class BackendTypeError(BridgeError, TypeError):
    """Something that is not a backend, a session or a batch was given as one."""


class JobError(ExecutionError):
    """A job failed for good, or was not done in time.

    Attributes:
        job_ids: The ids of the jobs of the request, as far as they were submitted; what they have
            computed can be fetched from the service by these.
    """

    def __init__(self, message: str, job_ids: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.job_ids = job_ids


class UnknownJobError(JobError):
    """Nothing can tell whether a job was taken, and another one might be paid for twice.

    Attributes:
        job_ids: As for :class:`JobError`.
        tag: What the job has as a tag at the service, if there is one.
    """

    def __init__(self, message: str, job_ids: tuple[str, ...] = (), tag: str = "") -> None:
        super().__init__(message, job_ids)
        self.tag = tag


class BudgetError(BridgeError, RuntimeError):
    """A job would exceed the budget; it was not submitted."""


class JournalError(BridgeError, ValueError):
    """A journal is damaged, or belongs to another run."""


class CheckpointError(BridgeError, RuntimeError):
    """A checkpoint cannot be written, is damaged, or belongs to another training."""
