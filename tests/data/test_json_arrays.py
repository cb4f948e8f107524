import json

import pytest

from plvl.data.json_arrays import read_array, split_array


def is_element(value):
    return "parts" in value


@pytest.fixture
def array(tmp_path):
    elements = [
        {"id": number, "parts": [{"text": '}, {"a": 1}, {' * (number % 3)}, {"text": "é"}] * (number % 4)}
        for number in range(200)
    ]
    path = tmp_path / "array.json"
    return path, elements


@pytest.mark.parametrize("layout", [{}, {"indent": 1}, {"separators": (",", ":")}, {"ensure_ascii": False}])
@pytest.mark.parametrize("num_parts", [1, 2, 7, 1000])
@pytest.mark.parametrize("block", [16, 1 << 20])
def test_the_parts_together_are_the_whole_array(array, layout, num_parts, block, monkeypatch):
    monkeypatch.setattr("plvl.data.json_arrays._BLOCK", block)
    path, elements = array
    path.write_text(json.dumps(elements, **layout), encoding="utf-8")
    parts = split_array(path, num_parts, is_element)
    assert 1 <= len(parts) <= min(num_parts, len(elements))
    assert num_parts == 1 or len(parts) > 1
    assert [element for part in parts for element in read_array(path, *part)] == elements


def test_an_empty_array_has_no_elements(tmp_path):
    path = tmp_path / "array.json"
    path.write_text("[ ]\n")
    assert [list(read_array(path, *part)) for part in split_array(path, 4, is_element)] in ([], [[]])


def test_a_broken_element_is_named_with_its_place(tmp_path):
    path = tmp_path / "array.json"
    path.write_text('[{"parts": 1}, {"parts" 2}, {"parts": 3}]')
    with pytest.raises(ValueError, match=r"array\.json: cut short or no JSON at byte 24"):
        list(read_array(path, *split_array(path, 1, is_element)[0]))
