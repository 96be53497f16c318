"""User errors that keep their class when they leave a pass.

TVM's pass runner turns exceptions into its own and back by name; unknown ones become RuntimeError.
"""

from __future__ import annotations

import tvm_ffi

from qmc.errors import (
    CodegenError,
    DataError,
    ModelError,
    NoMappingError,
    QmcError,
    QuantizationError,
    SchemeError,
    TargetError,
    UnsupportedOpError,
)

_CLASSES = (
    CodegenError,
    DataError,
    ModelError,
    NoMappingError,
    QuantizationError,
    SchemeError,
    TargetError,
    UnsupportedOpError,
)


def register_user_errors() -> None:
    """Teach TVM the classes that passes raise; doing so again changes nothing."""
    for error_class in _CLASSES:
        name = error_class.__name__
        tvm_ffi.register_error(name, error_class)
        tvm_ffi.register_error(name, _restored(error_class))


def _restored(error_class: type[QmcError]) -> type[QmcError]:
    """A subclass that takes the finished message, whatever its base asks for."""

    def __init__(self: QmcError, message: str) -> None:
        Exception.__init__(self, message)

    return type(error_class.__name__, (error_class,), {"__init__": __init__})
