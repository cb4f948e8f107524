"""
Positions in PLVL's vision encoder: tables, resized to the grid of the image, and what the relative ones add to
attention.
"""

import torch
import torch.nn.functional as F
from torch.fx.experimental.symbolic_shapes import statically_known_true


def absolute_position_table(table: torch.Tensor, size: int, rows: int, columns: int) -> torch.Tensor:
    """
    A table of absolute positions, made for a grid of size × size, for one of rows × columns: another grid resizes it
    bicubically.

    Args:
        table (`torch.Tensor` of shape `(1, size * size, hidden_size)`).

    Returns:
        `torch.Tensor` of shape `(1, rows * columns, hidden_size)`.
    """
    if is_known(rows == size) and is_known(columns == size):
        return table
    grid = table.transpose(1, 2).unflatten(-1, (size, size)).float()
    grid = F.interpolate(grid, size=(rows, columns), mode="bicubic", align_corners=False)
    return grid.flatten(2).transpose(1, 2).to(table.dtype).contiguous()


def relative_position_table(table: torch.Tensor, size: int) -> torch.Tensor:
    """
    The rows of a relative position table by query and key coordinate: `(size, size, head_dim)`. A table of
    another length than 2 * size - 1 is resized linearly.
    """
    length = 2 * size - 1
    if not is_known(table.shape[0] == length):
        resized = F.interpolate(table.T[None].float(), size=length, mode="linear", align_corners=False)
        table = resized[0].T.to(table.dtype)
    coordinates = torch.arange(size, device=table.device)
    return table[coordinates[:, None] - coordinates[None, :] + size - 1]


def is_known(condition: bool) -> bool:
    """
    Whether something holds of a size. In a graph of any size it is not known: a table is resized there even to the
    size that it has, which changes none of its values.
    """
    return statically_known_true(condition)


def one_hot_positions(rows: int, columns: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Row and column of each token as one-hot vectors, side by side: `(rows * columns, rows + columns)`."""
    row = torch.eye(rows, dtype=dtype, device=device)[:, None].expand(-1, columns, -1)
    column = torch.eye(columns, dtype=dtype, device=device).expand(rows, -1, -1)
    return torch.cat([row, column], dim=-1).flatten(0, 1)


def position_scores(query, row_table, column_table) -> tuple[torch.Tensor, torch.Tensor]:
    """
    What row and column of a key add to a query's scores: q·Rh[row - row'] and q·Rw[column - column'] (ViTDet).

    Args:
        query (`torch.Tensor` of shape `(batch_size, heads, rows, columns, head_dim)`): not scaled.
        row_table, column_table: from `relative_position_table`; of the first, the part for the query's rows.

    Returns:
        Two `torch.Tensor` of shape `(batch_size, heads, queries, rows)` and `(batch_size, heads, queries, columns)`.
    """
    by_row = torch.einsum("bnhwd,hkd->bnhwk", query, row_table)
    by_column = torch.einsum("bnhwd,wkd->bnhwk", query, column_table)
    return by_row.flatten(2, 3), by_column.flatten(2, 3)


def position_bias(query, row_table, column_table) -> torch.Tensor:
    """[`position_scores`] of each key's row and column together: `(batch_size, heads, queries, keys)`."""
    by_row, by_column = position_scores(query, row_table, column_table)
    return (by_row[..., :, None] + by_column[..., None, :]).flatten(3)


def widen_query(query, row_table, column_table, scaling: float) -> torch.Tensor:
    """
    Scaled and widened by the position scores, `(batch_size, heads, queries, head_dim + rows + columns)`: its product
    with a widened key is the score with the position term.
    """
    scores = position_scores(query, row_table, column_table)
    return torch.cat([query.flatten(2, 3) * scaling, *scores], dim=-1)


def widen_key(key, rows: int, columns: int) -> torch.Tensor:
    """Widened by its one-hot row and column: `(batch_size, heads, tokens, head_dim + rows + columns)`."""
    position = one_hot_positions(rows, columns, key.dtype, key.device)
    return torch.cat([key, position.expand(*key.shape[:2], -1, -1)], dim=-1)
