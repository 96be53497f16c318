"""User errors that keep their class when they leave a pass.

TVM's pass runner turns exceptions into its own and back by name; unknown ones become RuntimeError.
"""

from __future__ import annotations

from typing import Any

import tvm_ffi

from qmc.errors import QmcError, QuantizationError, SchemeError, UnsupportedOpError


def register_user_errors() -> None:
    """Teach TVM the classes that passes raise; doing so again changes nothing."""
    for error_class in (QuantizationError, SchemeError, UnsupportedOpError):
        name = error_class.__name__
        tvm_ffi.register_error(name, error_class)
        tvm_ffi.register_error(name, _from_message(error_class))


def _from_message(error_class: type[QmcError]) -> Any:
    """A constructor that takes the finished message, whatever the class asks for."""

    def make(message: str) -> QmcError:
        error = error_class.__new__(error_class)
        Exception.__init__(error, message)
        return error

    return make
