from typing import Any

from .core.typing import Signature

class Type:
    name: str
    def __init__(self, name: str) -> None: ...
    def __call__(self, *args: Type) -> Signature: ...

class Float(Type):
    bitwidth: int

class Integer(Type):
    bitwidth: int

class IntegerLiteral(Integer):
    literal_value: int

class Array(Type):
    dtype: Float

int32: Integer
int64: Integer
uint64: Integer
intp: Integer
float64: Float
void: Type
none: Type

class ExternalFunction:
    def __init__(self, symbol: str, sig: Signature) -> None: ...
    def __call__(self, *args: Any) -> Any: ...

def __getattr__(name: str) -> Any: ...
