from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from ..circuit import Instruction, Operation, QuantumCircuit, Qubit
from ..exceptions import QiskitError

class TranspilerError(QiskitError): ...

class Layout:
    def __getitem__(self, item: Any) -> Any: ...
    def __len__(self) -> int: ...
    def get_virtual_bits(self) -> dict[Qubit, int]: ...
    def get_physical_bits(self) -> dict[int, Qubit]: ...

class TranspileLayout:
    initial_layout: Layout
    input_qubit_mapping: dict[Qubit, int]
    final_layout: Layout | None
    def initial_index_layout(self, filter_ancillas: bool = False) -> list[int]: ...
    def final_index_layout(self, filter_ancillas: bool = True) -> list[int]: ...

class CouplingMap:
    def __init__(self, couplinglist: Iterable[Sequence[int]] | None = None) -> None: ...
    def get_edges(self) -> list[tuple[int, int]]: ...

class InstructionProperties:
    duration: float | None
    error: float | None
    def __init__(self, duration: float | None = None, error: float | None = None) -> None: ...

class Target(Mapping[str, Any]):
    dt: float | None
    granularity: int
    min_length: int
    num_qubits: int | None
    description: str | None
    qubit_properties: list[Any] | None
    pulse_alignment: int
    acquire_alignment: int
    def __init__(
        self,
        description: str | None = None,
        num_qubits: int | None = 0,
        dt: float | None = None,
        **constraints: Any,
    ) -> None: ...
    @property
    def operations(self) -> list[Instruction]: ...
    @property
    def operation_names(self) -> Iterable[str]: ...
    @property
    def qargs(self) -> Iterable[tuple[int, ...]] | None: ...
    @property
    def instructions(self) -> list[tuple[Instruction, tuple[int, ...] | None]]: ...
    def __getitem__(self, key: str) -> Mapping[Any, InstructionProperties | None] | Any: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def add_instruction(
        self,
        instruction: Operation | type[Operation],
        properties: Mapping[Any, InstructionProperties | None] | None = None,
        name: str | None = None,
    ) -> None: ...
    def operation_from_name(self, instruction: str) -> Instruction: ...
    def build_coupling_map(
        self, two_q_gate: str | None = None, filter_idle_qubits: bool = False
    ) -> CouplingMap | None: ...
    def instruction_supported(
        self,
        operation_name: str | None = None,
        qargs: tuple[int, ...] | None = None,
        operation_class: type[Operation] | None = None,
        parameters: list[Any] | None = None,
    ) -> bool: ...

class PassManager:
    @overload
    def run(self, circuits: QuantumCircuit) -> QuantumCircuit: ...
    @overload
    def run(self, circuits: list[QuantumCircuit]) -> list[QuantumCircuit]: ...

class StagedPassManager(PassManager): ...

def generate_preset_pass_manager(
    optimization_level: Any = 2,
    backend: Any = None,
    target: Any = None,
    # The basis gates are the next by position, which nobody should use.
    **settings: Any,
) -> StagedPassManager: ...
