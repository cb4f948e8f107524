"""Work shared by threads whose results come in order, a few of them ahead. Imports nothing that takes time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor


def in_threads(function: Callable, items: Iterable, num_threads: int) -> Iterator:
    """
    Yields `function(item)` of each item in order. No more than `2 * num_threads + 1` of them are worked out, or
    waited for, at a time; what nobody waits for any more is not begun.
    """
    with ThreadPoolExecutor(num_threads) as threads:
        ahead: deque = deque()
        try:
            for item in items:
                ahead.append(threads.submit(function, item))
                if len(ahead) > 2 * num_threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
