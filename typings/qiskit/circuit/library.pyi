from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ..quantum_info import SparseObservable, SparsePauliOp
from ..quantum_info.operators.base_operator import BaseOperator
from ..synthesis import EvolutionSynthesis
from . import ControlledGate, Gate, Instruction, ParameterExpression, QuantumCircuit

_Angle: TypeAlias = ParameterExpression | float | np.floating[Any]

class IGate(Gate):
    def __init__(self, label: str | None = None) -> None: ...

class HGate(Gate):
    def __init__(self, label: str | None = None) -> None: ...

class XGate(Gate):
    def __init__(self, label: str | None = None) -> None: ...

class YGate(Gate):
    def __init__(self, label: str | None = None) -> None: ...

class ZGate(Gate):
    def __init__(self, label: str | None = None) -> None: ...

class SGate(Gate):
    def __init__(self, label: str | None = None) -> None: ...

class SdgGate(Gate):
    def __init__(self, label: str | None = None) -> None: ...

class SXGate(Gate):
    def __init__(self, label: str | None = None) -> None: ...

class SXdgGate(Gate):
    def __init__(self, label: str | None = None) -> None: ...

class SwapGate(Gate):
    def __init__(self, label: str | None = None) -> None: ...

class TGate(Gate):
    def __init__(self, label: str | None = None) -> None: ...

class TdgGate(Gate):
    def __init__(self, label: str | None = None) -> None: ...

class CXGate(ControlledGate):
    def __init__(self, label: str | None = None, ctrl_state: str | int | None = None) -> None: ...

class CYGate(ControlledGate):
    def __init__(self, label: str | None = None, ctrl_state: str | int | None = None) -> None: ...

class CZGate(ControlledGate):
    def __init__(self, label: str | None = None, ctrl_state: str | int | None = None) -> None: ...

class GlobalPhaseGate(Gate):
    def __init__(self, phase: _Angle, label: str | None = None) -> None: ...

class PhaseGate(Gate):
    def __init__(self, theta: _Angle, label: str | None = None) -> None: ...

class RXGate(Gate):
    def __init__(self, theta: _Angle, label: str | None = None) -> None: ...

class RYGate(Gate):
    def __init__(self, theta: _Angle, label: str | None = None) -> None: ...

class RZGate(Gate):
    def __init__(self, phi: _Angle, label: str | None = None) -> None: ...

class RXXGate(Gate):
    def __init__(self, theta: _Angle, label: str | None = None) -> None: ...

class RYYGate(Gate):
    def __init__(self, theta: _Angle, label: str | None = None) -> None: ...

class RZZGate(Gate):
    def __init__(self, theta: _Angle, label: str | None = None) -> None: ...

class RZXGate(Gate):
    def __init__(self, theta: _Angle, label: str | None = None) -> None: ...

class U1Gate(Gate):
    def __init__(self, theta: _Angle, label: str | None = None) -> None: ...

class U2Gate(Gate):
    def __init__(self, phi: _Angle, lam: _Angle, label: str | None = None) -> None: ...

class U3Gate(Gate):
    def __init__(
        self, theta: _Angle, phi: _Angle, lam: _Angle, label: str | None = None
    ) -> None: ...

class UGate(Gate):
    def __init__(
        self, theta: _Angle, phi: _Angle, lam: _Angle, label: str | None = None
    ) -> None: ...

class CPhaseGate(ControlledGate):
    def __init__(
        self,
        theta: _Angle,
        label: str | None = None,
        ctrl_state: str | int | None = None,
    ) -> None: ...

class CRXGate(ControlledGate):
    def __init__(
        self,
        theta: _Angle,
        label: str | None = None,
        ctrl_state: str | int | None = None,
    ) -> None: ...

class CRYGate(ControlledGate):
    def __init__(
        self,
        theta: _Angle,
        label: str | None = None,
        ctrl_state: str | int | None = None,
    ) -> None: ...

class CRZGate(ControlledGate):
    def __init__(
        self,
        theta: _Angle,
        label: str | None = None,
        ctrl_state: str | int | None = None,
    ) -> None: ...

class CU1Gate(ControlledGate):
    def __init__(
        self,
        theta: _Angle,
        label: str | None = None,
        ctrl_state: str | int | None = None,
    ) -> None: ...

class XXPlusYYGate(Gate):
    def __init__(self, theta: _Angle, beta: _Angle = 0, label: str | None = "(XX+YY)") -> None: ...

class UnitaryGate(Gate):
    def __init__(
        self,
        data: ArrayLike | Gate | BaseOperator,
        label: str | None = None,
        check_input: bool = True,
        *,
        num_qubits: int | None = None,
    ) -> None: ...

class HamiltonianGate(Gate):
    def __init__(
        self,
        data: ArrayLike | Gate | BaseOperator,
        time: _Angle,
        label: str | None = None,
    ) -> None: ...

class Initialize(Instruction):
    def __init__(
        self,
        params: ArrayLike | str | int,
        num_qubits: int | None = None,
        normalize: bool = False,
    ) -> None: ...

class StatePreparation(Gate):
    def __init__(
        self,
        params: ArrayLike | str | int,
        num_qubits: int | None = None,
        inverse: bool = False,
        label: str | None = None,
        normalize: bool = False,
    ) -> None: ...

class Isometry(Instruction): ...

class PauliEvolutionGate(Gate):
    operator: SparsePauliOp | SparseObservable | list[SparsePauliOp | SparseObservable]
    synthesis: EvolutionSynthesis
    time: ParameterExpression | float
    def __init__(
        self,
        operator: BaseOperator | SparseObservable | Sequence[BaseOperator | SparseObservable],
        time: _Angle = 1.0,
        label: str | None = None,
        synthesis: EvolutionSynthesis | None = None,
    ) -> None: ...

class BlueprintCircuit(QuantumCircuit): ...
class NLocal(BlueprintCircuit): ...
class EvolvedOperatorAnsatz(NLocal): ...

class QAOAAnsatz(EvolvedOperatorAnsatz):
    def __init__(
        self,
        cost_operator: BaseOperator | None = None,
        reps: int = 1,
        initial_state: QuantumCircuit | None = None,
        mixer_operator: BaseOperator | QuantumCircuit | None = None,
        name: str = "QAOA",
        flatten: bool | None = None,
    ) -> None: ...

def qaoa_ansatz(
    cost_operator: BaseOperator,
    reps: int = 1,
    initial_state: QuantumCircuit | None = None,
    mixer_operator: BaseOperator | QuantumCircuit | None = None,
    insert_barriers: bool = False,
    name: str = "QAOA",
) -> QuantumCircuit: ...
def n_local(
    num_qubits: int,
    rotation_blocks: str | Gate | Sequence[str | Gate],
    entanglement_blocks: str | Gate | Sequence[str | Gate],
    entanglement: str | Sequence[tuple[int, int]] = "full",
    reps: int = 3,
    insert_barriers: bool = False,
    parameter_prefix: str = "θ",
) -> QuantumCircuit: ...
def zz_feature_map(
    feature_dimension: int,
    reps: int = 2,
    entanglement: str | Mapping[int, Sequence[tuple[int, ...]]] = "full",
    alpha: float = 2.0,
    data_map_func: None = None,
    parameter_prefix: str = "x",
) -> QuantumCircuit: ...
def get_standard_gate_name_mapping() -> dict[str, Instruction]: ...
