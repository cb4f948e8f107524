"""Ways side by side: their times, rates and memory, as data for JSON and as a table of Markdown."""

from collections.abc import Callable

import torch

from benchmarks.measuring import dtype_name, matrix_product, take_turns


def compare(
    title: str,
    ways: dict[str, Callable],
    turns: int,
    device: torch.device,
    flops: int | None = None,
    dtypes: dict[str, torch.dtype] | None = None,
    items: int | None = None,
    warm_up: int | None = None,
    clock: Callable[[], float] | None = None,
) -> dict:
    """
    Lets the ways take turns, and with them one large matrix product of each dtype if there are any.

    Args:
        ways: the first is the one that the others are compared with.
        flops: floating-point operations that each of them has to do.
        dtypes: of the products that each of them computes; goes with `flops`.
        items: pairs, rows or whatever is counted that each of them gets done.

    Returns:
        {"title", "flops", "items", "turns", "ways": {name: {"seconds", "flops_per_second", "share_of_product"}},
        "products": {dtype: {"seconds", "flops_per_second"}}}; the rates only with `flops`.
    """
    dtypes = dtypes or {}
    products = {dtype: matrix_product(dtype, device) for dtype in dict.fromkeys(dtypes.values())}
    product_ways = {dtype: product for dtype, (product, _) in products.items()}
    seconds = take_turns(ways | product_ways, turns, device, warm_up, clock)

    comparison = {"title": title, "flops": flops, "items": items, "turns": turns, "ways": {}, "products": {}}
    product_rates = {}
    for dtype, (_, product_flops) in products.items():
        product_rates[dtype] = product_flops / seconds[dtype]["median"]
        comparison["products"][dtype_name(dtype)] = {
            "seconds": seconds[dtype],
            "flops_per_second": product_rates[dtype],
        }
    for name in ways:
        way = comparison["ways"][name] = {"seconds": seconds[name]}
        if flops:
            rate = flops / seconds[name]["median"]
            way |= {"flops_per_second": rate, "share_of_product": rate / product_rates[dtypes[name]]}
    return comparison


def speed(comparison: dict, name: str) -> float:
    """How many times as fast as the first way."""
    ways = comparison["ways"]
    return ways[first_way(comparison)]["seconds"]["median"] / ways[name]["seconds"]["median"]


def memory_ratio(comparison: dict, name: str, beyond_held: bool = False) -> float | None:
    """
    The most memory it needs, over the most that the first way needs; None where memory was not measured.
    `beyond_held` leaves out what each held before, such as weights.
    """
    memory = [comparison["ways"][way].get("memory") for way in (name, first_way(comparison))]
    if None in memory:
        return None
    needed, first_needed = (each["peak"] - beyond_held * each["held"] for each in memory)
    return needed / first_needed


def first_way(comparison: dict) -> str:
    """The one that the others are compared with."""
    return next(iter(comparison["ways"]))


def print_table(comparison: dict):
    print(table(comparison) + "\n", flush=True)


def table(comparison: dict) -> str:
    """Markdown: a line for each way and each product; columns that nothing was measured for are left out."""
    title = f"{comparison['title']} ({comparison['turns']} turn{'s' * (comparison['turns'] > 1)})"
    rows = []
    for name, way in comparison["ways"].items():
        memory = way.get("memory") or {}
        rows.append(
            {
                title: name,
                "median": duration(way["seconds"]["median"]),
                "fastest to slowest": _range(way["seconds"]),
                "speed": f"{speed(comparison, name):.2f} ×",
                "a second": f"{comparison['items'] / way['seconds']['median']:.3g}" if comparison["items"] else "",
                "GFLOP/s": _giga(way.get("flops_per_second")),
                "of the product's": percent(way.get("share_of_product")),
                "memory before": mebibytes(memory.get("held")),
                "at most": mebibytes(memory.get("peak")),
                "tensors of the pass": mebibytes(memory.get("tensors")),
            }
        )
    for dtype, product in comparison["products"].items():
        rows.append(
            {
                title: f"a large matrix product, {dtype}",
                "median": duration(product["seconds"]["median"]),
                "fastest to slowest": _range(product["seconds"]),
                "GFLOP/s": _giga(product["flops_per_second"]),
            }
        )
    return markdown_table(rows)


def markdown_table(rows: list[dict[str, str]]) -> str:
    """Columns are the first row's that some row fills."""
    columns = [column for column in rows[0] if any(row.get(column) for row in rows)]
    lines = [columns, ["---"] * len(columns), *([row.get(column, "") for column in columns] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _range(seconds: dict) -> str:
    return f"{duration(seconds['fastest'])} to {duration(seconds['slowest'])}"


def _giga(rate: float | None) -> str:
    return "" if rate is None else f"{rate / 1e9:.0f}"


def percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def mebibytes(size: int | None) -> str:
    return "" if size is None else f"{size / 2**20:.0f} MiB"
