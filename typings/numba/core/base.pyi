from collections.abc import Callable
from typing import Protocol

from llvmlite import ir

from ..types import Type

class _ArrayStruct(Protocol):
    data: ir.Value

class BaseContext:
    def cast(self, builder: ir.IRBuilder, val: ir.Value, fromty: Type, toty: Type) -> ir.Value: ...
    def get_constant(self, ty: Type, val: object) -> ir.Constant: ...
    def get_value_type(self, ty: Type) -> ir.VectorType: ...  # of vectors, as used here
    def make_array(self, typ: Type) -> Callable[..., _ArrayStruct]: ...
