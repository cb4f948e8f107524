"""Reading a JSON file that is one long array of objects, element by element and from several places at once.

Such a file (Visual Genome's regions are 0.7 GB) is never held in memory: a part of it is read in blocks and
decoded by `json.JSONDecoder.raw_decode`. Parts are byte ranges, so that each process reads its own.
"""

import codecs
import json
import os
import re

from plvl.data.source_files import parse_json

_BLOCK = 1 << 20
_LARGEST_ELEMENT = 1 << 26
_DECODER = json.JSONDecoder()
_BYTE_ORDER_MARK = codecs.BOM_UTF8.decode("latin-1")
_GAP = re.compile(r"[\s,]*")
_BETWEEN_OBJECTS = re.compile(r"\}\s*,\s*(?=\{)")


def split_array(path, num_parts, is_element):
    """Cut the array into byte ranges of about equal size that begin and end between its elements.

    Args:
        path: the file.
        num_parts: how many ranges to make at most; fewer when the array is short.
        is_element: tells an element of the array, once decoded, from an object inside one.

    Returns:
        List of (start, end), byte offsets; together they are the whole array.

    Raises:
        ValueError: the file is no array or is cut short.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(_BLOCK).decode("latin-1")
        file.seek(max(0, size - _BLOCK))
        tail = file.read().decode("latin-1").rstrip()
        if not head.removeprefix(_BYTE_ORDER_MARK).lstrip().startswith("[") or not tail.endswith("]"):
            raise ValueError(f"{path}: cut short or no JSON array (it must begin with [ and end with ])")
        first = head.index("[") + 1
        end = max(0, size - _BLOCK) + len(tail) - 1
        cuts = {first, end}
        for part in range(1, num_parts):
            cuts.add(_next_element(file, first + (end - first) * part // num_parts, end, is_element))
    cuts = sorted(cuts)
    return list(zip(cuts[:-1], cuts[1:], strict=True))


def read_array(path, start, end):
    """Yield the elements of an array of objects between two byte offsets from `split_array`.

    Raises:
        ValueError: something that is no JSON; the message has file and offset.
    """
    with open(path, "rb") as file:
        file.seek(start)
        # Latin-1 keeps one character a byte, so that places in the text are places in the file.
        text, offset, place = "", start, 0
        while True:
            place = _GAP.match(text, place).end()
            try:
                element, stop = _DECODER.raw_decode(text, place)
            except RecursionError as error:
                raise ValueError(f"{path}: nested too deep at byte {offset + place}") from error
            except json.JSONDecodeError as error:
                error_at = offset + error.pos
                text, offset, place = text[place:], offset + place, 0
                block = file.read(min(max(_BLOCK, len(text)), end - offset - len(text))).decode("latin-1")
                if not block and not text:
                    return
                if not block or len(text) > _LARGEST_ELEMENT:
                    raise ValueError(f"{path}: cut short or no JSON at byte {error_at} ({error.msg})") from error
                text += block
                continue
            if not text.isascii():
                written = text[place:stop]
                if not written.isascii():
                    element = parse_json(written.encode("latin-1"), f"{path}, byte {offset + place}")
            yield element
            place = stop


def _next_element(file, position, end, is_element):
    """Offset of the first element that begins after `position`, or `end`."""
    file.seek(position)
    text = ""
    while position + len(text) < end:
        text += file.read(min(_BLOCK, end - position - len(text))).decode("latin-1")
        for match in _BETWEEN_OBJECTS.finditer(text):
            try:
                element, _ = _DECODER.raw_decode(text, match.end())
            except (json.JSONDecodeError, RecursionError):
                continue  # inside a string, or the block ends here, or nobody can read it
            if is_element(element):
                return position + match.end()
    return end
