import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from plvl.data.safe_pickle import UnsafePickleError, load_label_pickle


class TouchesAFile:
    """Unpickled the plain way, this creates the file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_labels_come_back_in_every_protocol(tmp_path, protocol):
    labels = {
        "box": np.array([1.5, 2.5]),
        "ids": np.arange(3),
        "score": np.float32(0.5),
        "grid": np.arange(6, dtype=np.int16).reshape(2, 3).T,
        "names": np.array(["é", "ab"]),
        "raw": np.array([b"ab"]),
        "flag": np.bool_(True),
        "more bytes": bytearray(b"12"),
        "ragged": np.array([[1.0, 2.0], [3.0]], dtype=object),
        "words": ["a", "é", b"bytes"],
        "more": OrderedDict(a={1, 2}, b=(None, True)),
    }
    path = tmp_path / "labels.p"
    path.write_bytes(pickle.dumps(labels, protocol=protocol))
    read = load_label_pickle(path)
    assert read["words"] == labels["words"] and read["more"] == labels["more"]
    assert read["score"] == labels["score"]
    assert read["ragged"].tolist() == labels["ragged"].tolist()
    again = pickle.loads(pickle.dumps(read, protocol=protocol))
    np.testing.assert_array_equal(again["grid"], labels["grid"])
    assert read["flag"].dtype == bool and read["flag"] and read["more bytes"] == labels["more bytes"]
    for name in ("box", "ids", "grid", "names", "raw"):
        np.testing.assert_array_equal(read[name], labels[name], strict=True)


def test_a_python_2_pickle_is_read(tmp_path):
    path = tmp_path / "labels.p"
    # What Python 2's cPickle writes for [{'sent': 'a caf\xe9'}, set([1])] with protocol 2.
    path.write_bytes(
        b"\x80\x02]q\x01(}q\x02U\x04sentq\x03U\x06a caf\xe9q\x04sc__builtin__\nset\nq\x05]q\x06K\x01a\x85Rq\x07e."
    )
    assert load_label_pickle(path) == [{"sent": "a café"}, {1}]


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_arrays_of_old_and_new_numpy_are_read(tmp_path, core):
    path = tmp_path / "labels.p"
    written = pickle.dumps(np.array([3.0, 4.0]), protocol=2)
    path.write_bytes(written.replace(b"numpy._core", core).replace(b"numpy.core", core))
    np.testing.assert_array_equal(load_label_pickle(path), [3.0, 4.0])


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_code_is_refused_before_it_runs(tmp_path, protocol):
    path, trace = tmp_path / "labels.p", tmp_path / "trace"
    path.write_bytes(pickle.dumps([TouchesAFile(trace)], protocol=protocol))
    with pytest.raises(UnsafePickleError, match=rf"labels\.p.*{os.mkdir.__module__}\.mkdir"):
        load_label_pickle(path)
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists(), "the payload is harmless, so this test shows nothing"


@pytest.mark.parametrize("payload", [b"cbuiltins\neval\n.", b"cnumpy\nsave\n.", b"c_codecs\nopen\n."])
def test_other_functions_of_allowed_modules_are_refused(tmp_path, payload):
    path = tmp_path / "labels.p"
    path.write_bytes(payload)
    with pytest.raises(UnsafePickleError, match="refused"):
        load_label_pickle(path)


F8 = b"cnumpy\ndtype\n(S'f8'\nI00\nI01\ntR"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (F8 + b"(I3\nS'<'\nN(S'a'\nt(dI8\nI1\nI63\ntb.", "asks for an array of structures"),
        (F8 + b"(I3\nS'<'\n(S'f8'\n(I2\nttNNI-1\nI-1\nI0\ntb.", "asks for an array of structures"),
        (F8.replace(b"f8", b"V8") + b".", "asks for an array of 'V8'"),
        (
            ARRAY + b"(I1\n(I4\nt" + F8.replace(b"f8", b"O8") + b"I00\nS'" + b"A" * 32 + b"'\ntb.",
            "asks for objects made of",
        ),
        (
            b"cnumpy.core.multiarray\nscalar\n(" + F8.replace(b"f8", b"O8") + b"S'AAAAAAAA'\ntR.",
            "asks for objects made of",
        ),
        (
            b"c__builtin__\nbytes\n(cnumpy.core.multiarray\nscalar\n("
            + F8.replace(b"f8", b"i8")
            + b"S'\\x00\\x00\\x00\\x7f\\x00\\x00\\x00\\x00'\ntRtR.",
            "asks for 2130706432 bytes of memory",
        ),
        (F8.replace(b"S'f8'\n", b"(l") + b".", r"asks for an array of '\[\]'"),
        (b"cnumpy\nndarray\n((I4\ntS'O'\nS'" + b"A" * 32 + b"'\ntR.", "asks for a call of numpy.ndarray"),
        (b"cnumpy.core.multiarray\nscalar\n(S'O8'\nS'AAAAAAAA'\ntR.", "asks for an array without a dtype"),
        (ARRAY + b"(I1\n(I4\ntS'O8'\nI00\nS'" + b"A" * 32 + b"'\ntb.", "asks for an array without a dtype"),
        (ARRAY + b"(I1\n(L99999999999L\nt" + F8 + b"I00\nS'AAAAAAAA'\ntb.", "buffer size does not match"),
        (b"c__builtin__\nbytearray\n(L99999999999999L\ntR.", "asks for 99999999999999 bytes of memory"),
        (b"c_codecs\nencode\n(dS'x'\nI1\nsb.", "asks for another function in place of an allowed one"),
    ],
)
def test_what_a_pickle_calls_takes_no_state_that_makes_pointers_of_bytes(tmp_path, payload, reason):
    path = tmp_path / "labels.p"
    path.write_bytes(payload)
    with pytest.raises(ValueError, match=rf"labels\.p: .*{reason}"):
        load_label_pickle(path)


def test_a_pickle_cut_anywhere_is_named_in_one_line(tmp_path):
    whole = pickle.dumps([{"sent": "the board", "box": np.arange(4.0)}], protocol=2)
    path = tmp_path / "refs(unc).p"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"refs\(unc\)\.p: cut short or no pickle"):
            load_label_pickle(path)


@pytest.mark.parametrize(("raw", "text"), [("l'été".encode(), "l'été"), ("l'été".encode("latin-1"), "l'été")])
def test_sentences_of_python_2_are_utf_8_or_else_latin_1(tmp_path, raw, text):
    """A list, a dict in it and a tuple, as Python 2 writes strings that are bytes."""
    string = b"U" + bytes([len(raw)]) + raw
    file = tmp_path / "refs.p"
    file.write_bytes(b"\x80\x02](" + string + b"}U\x04sent" + string + b"s" + string + b"\x85e.")
    assert load_label_pickle(file) == [text, {"sent": text}, (text,)]
