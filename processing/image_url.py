"""Reading an image from a URL, no longer and no more of it than an image takes."""

import time
from http.client import HTTPException
from urllib.error import URLError
from urllib.request import urlopen

MOST_SECONDS = 30.0
MOST_BYTES = 64 * 2**20
_BLOCK = 1 << 16


def is_url(name: str) -> bool:
    return name.startswith(("http://", "https://"))


def read_url(url: str, most_seconds: float = MOST_SECONDS, most_bytes: int = MOST_BYTES) -> tuple[bytes, str]:
    """
    The body that a URL gives, and its content type.

    Raises:
        ValueError: nothing comes, not all of it in `most_seconds`, or more than `most_bytes`; the message has the URL.
    """
    end = time.monotonic() + most_seconds
    blocks, size = [], 0
    try:
        with urlopen(url, timeout=most_seconds) as response:
            # read1 gives what has come; read would wait for a whole block of a body that drips.
            while block := response.read1(_BLOCK):
                blocks.append(block)
                size += len(block)
                if size > most_bytes:
                    raise ValueError(f"{url}: more than {most_bytes / 2**20:.0f} MB")
                if time.monotonic() > end:
                    raise ValueError(f"{url}: not read whole in {most_seconds:g} s ({size} bytes came)")
            return b"".join(blocks), response.headers.get_content_type()
    except (URLError, HTTPException, OSError) as error:
        reason = error.reason if type(error) is URLError else error
        raise ValueError(f"{url}: {reason}") from error
