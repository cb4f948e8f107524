"""EXIF as damaged files have it: an orientation, and a tag that Pillow reads and cannot write anew."""

import struct


def odd_exif(orientation: int) -> bytes:
    """The width, a number, is a text; `ImageOps.exif_transpose` fails where it has to turn the image."""
    turned = struct.pack("<HHII", 0x0112, 3, 1, orientation)
    width = struct.pack("<HHI4s", 0x0100, 2, 2, b"a")
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + turned + width + bytes(4)
