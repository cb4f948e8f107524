"""Reading label pickles without running what they may carry.

A pickle can name any function of any module and have it called. Labels need none of that: this reader
builds plain containers, strings, numbers and NumPy arrays, and refuses everything else.
"""

import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np


class UnsafePickleError(ValueError):
    """A label pickle asks for something that labels do not need."""


class _PlainType:
    """Stands for a NumPy dtype of numbers, bool, text or bytes.

    NumPy's own takes the state that a pickle gives it as it is, fields and offsets into memory among them.
    """

    def __init__(self, code, *_):
        if not (isinstance(code, str) and re.fullmatch(r"b1|\?|O8?|[iufcSUa]\d{1,6}", code)):
            raise UnsafePickleError(f"an array of {str(code)[:40]!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state):
        order, *structure = state[1:5]  # subarray, names, fields
        orders = ("|",) if self.dtype.hasobject else ("<", ">", "|", "=")
        if structure != [None, None, None] or order not in orders:
            raise UnsafePickleError("an array of structures")
        if order in "<>":
            self.dtype = self.dtype.newbyteorder(order)


class _PlainArray(np.ndarray):
    def __setstate__(self, state):
        _, shape, kind, fortran, content = state
        # Of objects the content is a list of them; bytes would be taken for pointers.
        kind = _dtype(kind, with_objects=type(content) is list)
        super().__setstate__((1, shape, kind, fortran, _in_bytes(content)))

    def __reduce_ex__(self, protocol):
        return np.asarray(self).view(np.ndarray).__reduce_ex__(protocol)


class _Constructor:
    """What a pickle may call, and nothing else: the state that it may give to whatever it names has no effect here."""

    def __init__(self, build):
        self.build = build

    def __call__(self, *args):
        return self.build(*args)

    def __setstate__(self, state):
        raise UnsafePickleError("another function in place of an allowed one")


def _dtype(kind, with_objects=False):
    if not isinstance(kind, _PlainType):
        raise UnsafePickleError("an array without a dtype")
    if kind.dtype.hasobject and not with_objects:
        raise UnsafePickleError("objects made of bytes")
    return kind.dtype


def _in_bytes(content):
    """Text stands for bytes where Python 2 or protocol 2 has written it."""
    return content.encode("latin1") if isinstance(content, str) else content


def _scalar(kind, content=b""):
    (number,) = np.frombuffer(_in_bytes(content), _dtype(kind))
    return number


def _from_buffer(content, kind, shape, order):
    return np.frombuffer(content, _dtype(kind)).reshape(shape, order=order)


def _encode_latin1(text, encoding):
    """Stands in for `codecs.encode`, which pickles of protocol 2 use to spell bytes."""
    if encoding != "latin1":
        raise UnsafePickleError(f"_codecs.encode with the encoding {encoding!r}")
    return text.encode("latin1")


def _bytes_of_content(kind):
    """`bytes` and `bytearray` of some content; of a number they would be as many bytes."""

    def build(*args):
        if args and hasattr(args[0], "__index__"):
            raise UnsafePickleError(f"{args[0]} bytes of memory")
        return kind(*args)

    return build


# NumPy's names for how an array and a number are built; the modules moved from numpy.core to numpy._core.
_NUMPY = {
    ("multiarray", "_reconstruct"): lambda *_: _PlainArray(0),
    ("multiarray", "scalar"): _scalar,
    ("numeric", "_frombuffer"): _from_buffer,
}
_ALLOWED = {
    ("numpy", "ndarray"): lambda *_: _refuse_call("numpy.ndarray"),
    ("numpy", "dtype"): _PlainType,
    ("_codecs", "encode"): _encode_latin1,
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "bytes"): _bytes_of_content(bytes),
    ("builtins", "bytearray"): _bytes_of_content(bytearray),
}
for _core in ("numpy.core", "numpy._core"):
    for (_module, _name), _build in _NUMPY.items():
        _ALLOWED[f"{_core}.{_module}", _name] = _build
for _builtin in (set, frozenset, list, dict, tuple, str, int, float, bool, complex):
    _ALLOWED["builtins", _builtin.__name__] = _builtin


def _refuse_call(name):
    raise UnsafePickleError(f"a call of {name}")


class _LabelUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = "builtins" if module == "__builtin__" else module  # of Python 2
        if (module, name) not in _ALLOWED:
            raise UnsafePickleError(f"{module}.{name}")
        return _Constructor(_ALLOWED[module, name])


def load_label_pickle(path: str | Path) -> Any:
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


def read_label_pickle(file: Any, path: str | Path) -> Any:
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
