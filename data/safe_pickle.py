"""Reading label pickles without running what they may carry.

A pickle can name any function of any module and have it called. Labels need none of that: this reader
builds plain containers, strings, numbers and NumPy arrays, and refuses everything else.
"""

import pickle
from collections import OrderedDict

import numpy as np


class UnsafePickleError(ValueError):
    """A label pickle asks for something that labels do not need."""


def _encode_latin1(text, encoding):
    """Stands in for `codecs.encode`, which pickles of protocol 2 use to spell bytes."""
    if encoding != "latin1":
        raise UnsafePickleError(f"_codecs.encode with the encoding {encoding!r}")
    return text.encode("latin1")


# NumPy's own names for how an array and a number are built; the modules moved from numpy.core to numpy._core.
_ARRAY = np.zeros(1)
_NUMPY_BUILDERS = {
    ("multiarray", "_reconstruct"): _ARRAY.__reduce__()[0],
    ("multiarray", "scalar"): np.float64(0).__reduce__()[0],
    ("numeric", "_frombuffer"): _ARRAY.__reduce_ex__(5)[0],
}
_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode_latin1,
    ("collections", "OrderedDict"): OrderedDict,
}
for _core in ("numpy.core", "numpy._core"):
    for (_module, _name), _builder in _NUMPY_BUILDERS.items():
        _ALLOWED[f"{_core}.{_module}", _name] = _builder
for _builtin in (set, frozenset, list, dict, tuple, bytearray, bytes, str, int, float, bool, complex):
    _ALLOWED["builtins", _builtin.__name__] = _builtin  # "__builtin__" of Python 2 arrives as "builtins"


class _LabelUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        module = "builtins" if module == "__builtin__" else module
        if (module, name) not in _ALLOWED:
            raise UnsafePickleError(f"{module}.{name}")
        return _ALLOWED[module, name]


def load_label_pickle(path):
    """Read a pickle of plain containers, strings, numbers and NumPy arrays (Python 2's too).

    Args:
        path: the file.

    Returns:
        What the pickle holds.

    Raises:
        UnsafePickleError: it names a class or function outside the allow-list; nothing of it has been run.
        ValueError: the file is cut short or is no pickle.
    """
    with open(path, "rb") as file:
        return read_label_pickle(file, path)


def _in_utf8(value):
    """Strings of Python 2 are bytes that nobody says the encoding of: UTF-8 where they are that, else Latin-1."""
    if isinstance(value, str):
        if value.isascii():
            return value
        try:
            return value.encode("latin1").decode("utf-8")
        except UnicodeError:
            return value
    if isinstance(value, list):
        # Most lists are coordinates.
        if not value or type(value[0]) not in (int, float):
            value[:] = map(_in_utf8, value)
    elif isinstance(value, dict):
        for key in value:
            value[key] = _in_utf8(value[key])
    elif isinstance(value, tuple):
        return tuple(map(_in_utf8, value))
    return value


def read_label_pickle(file, path):
    """The same for an open binary file; `path` is for the messages."""
    try:
        # Arrays that Python 2 has written need Latin-1, byte for byte; its sentences are put right afterwards.
        return _in_utf8(_LabelUnpickler(file, encoding="latin1").load())
    except UnsafePickleError as error:
        raise UnsafePickleError(
            f"{path}: refused, because the pickle asks for {error}; only plain containers, strings, "
            "numbers and NumPy arrays are read"
        ) from None
    # A damaged pickle can fail in any opcode, each with an exception of its own.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: cut short or no pickle ({type(error).__name__}: {reason})") from error
