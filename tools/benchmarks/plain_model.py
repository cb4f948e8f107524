"""The network as one writes it at first: what `benchmark.py model` and `train` measure this project's way against.

All attention scores are materialised, with the position bias added to them; position tables are resized on every call;
each loss is a plain formula, and the centre's heat map is drawn one sample at a time, on the CPU.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import box_convert, generalized_box_iou_loss

from plvl.modeling_plvl.linear_plvl import PLVLLinear


class PlainModel(nn.Module):
    """
    What a [`PLVLModel`] computes, in the plain way, with its weights.

    Args:
        model (`PLVLModel`): for both tasks, the mask from the centre's features. Its modules are taken over, its text
            encoder is eager from then on: whoever needs both builds two.
    """

    def __init__(self, model):
        super().__init__()
        self.config = model.config
        self.text_encoder = model.text_encoder
        self.text_encoder.set_attn_implementation("eager")
        self.embeddings = model.vision_encoder.embeddings
        self.vision_layers = model.vision_encoder.layers
        self.decoder = model.decoder
        self.head = model.head
        for module in self.modules():
            if type(module) is PLVLLinear:
                module.__class__ = nn.Linear

    def forward(self, pixel_values, input_ids, attention_mask=None, labels=None) -> dict:
        """Takes what [`PLVLModel`] takes and gives fields of its [`PLVLOutput`]."""
        text = self.text_encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        padding = None if attention_mask is None else attention_mask == 0
        grid = self.embed(pixel_values)
        for layer in self.vision_layers:
            vision_padding = padding if self.config.mask_text_padding_in_vision else None
            grid = vision_layer(layer, grid, text, vision_padding)
        tokens = self.decoder.vision_proj(self.decoder.vision_norm(grid.flatten(1, 2)))
        memory = self.decoder.text_proj(text)
        for layer in self.decoder.layers:
            tokens = decoder_layer(layer, tokens, memory, padding)
        tokens = self.decoder.norm(tokens)
        outputs = self.answer(tokens.transpose(1, 2).reshape(len(tokens), -1, *grid.shape[1:3]))
        if labels is not None:
            outputs["loss_dict"] = plain_losses(self.config, outputs, labels)
            outputs["loss"] = sum(outputs["loss_dict"].values())
        return outputs

    def embed(self, pixel_values):
        patches = self.embeddings.projection(pixel_values)
        side = self.config.vision_config.position_grid_size
        positions = self.embeddings.position_embeddings[:, -side * side :].transpose(1, 2).unflatten(2, (side, side))
        if positions.shape[2:] != patches.shape[2:]:
            positions = F.interpolate(positions, patches.shape[2:], mode="bicubic", align_corners=False)
        return (patches + positions).permute(0, 2, 3, 1)

    def answer(self, feature_map):
        center_half, box_half = feature_map.chunk(2, dim=1)
        center_features = self.head.center_trunk(center_half)
        box_features = self.head.box_trunk(box_half)
        center_logits = self.head.center(center_features)[:, 0].float()
        offset = self.head.offset(box_features).float()
        size = self.head.size(box_features).float().sigmoid().clamp(1e-4, 1 - 1e-4)
        rows, columns = center_logits.shape[1:]
        sample = torch.arange(len(center_logits), device=center_logits.device)
        best = center_logits.flatten(1).argmax(1)
        y, x = best // columns, best % columns
        center = (offset[sample, :, y, x] + torch.stack([x, y], 1)) / offset.new_tensor([columns, rows])
        return {
            "pred_boxes": torch.cat([center, size[sample, :, y, x]], 1),
            "pred_masks": self.head.mask(center_features)[:, 0],
            "center_logits": center_logits,
            "size": size,
            "offset": offset,
        }


def vision_layer(layer, grid, text, padding):
    """`grid`: `(batch_size, rows, columns, hidden_size)`, the output too."""
    normed = layer.norm1(grid)
    size = layer.window_size
    attended = windowed_attention(layer.attention, normed, size) if size else grid_attention(layer.attention, normed)
    grid = grid + layer.drop_path(attended)
    if layer.text_guidance is not None:
        guidance = layer.text_guidance
        adapted = guidance.norm(text)
        adapted = guidance.to_vision(adapted + guidance.up_proj(F.relu(guidance.down_proj(adapted))))
        attended = attention(guidance.attention, guidance.query_norm(grid.flatten(1, 2)), adapted, padding)
        grid = grid + layer.drop_path(attended.reshape(grid.shape))
    return grid + layer.drop_path(layer.fc2(layer.activation(layer.fc1(layer.norm2(grid)))))


def windowed_attention(module, grid, size: int):
    batch, rows, columns, channels = grid.shape
    padded = F.pad(grid, (0, 0, 0, -columns % size, 0, -rows % size))
    down, across = padded.shape[1] // size, padded.shape[2] // size
    windows = padded.reshape(batch, down, size, across, size, channels).transpose(2, 3)
    attended = grid_attention(module, windows.reshape(-1, size, size, channels)).reshape(windows.shape)
    return attended.transpose(2, 3).reshape(padded.shape)[:, :rows, :columns]


def grid_attention(module, grid):
    """Self-attention with scores of tokens × tokens, and their position bias added."""
    batch, rows, columns, channels = grid.shape
    heads = module.num_heads
    query, key, value = module.qkv(grid).reshape(batch, rows * columns, 3, heads, -1).permute(2, 0, 3, 1, 4)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    grid_query = query.unflatten(2, (rows, columns))
    by_row = torch.einsum("bnhwd,hkd->bnhwk", grid_query, relative_positions(module.rel_pos_h, rows))
    by_column = torch.einsum("bnhwd,wkd->bnhwk", grid_query, relative_positions(module.rel_pos_w, columns))
    scores = scores.reshape(batch, heads, rows, columns, rows, columns)
    scores = scores + by_row[..., :, None] + by_column[..., None, :]
    weights = scores.reshape(batch, heads, rows * columns, rows * columns).softmax(-1)
    return module.proj((weights @ value).transpose(1, 2).reshape(batch, rows, columns, channels))


def relative_positions(table, size: int):
    """`(size, size, head_dim)`: the table's row for each distance of a query from a key."""
    if len(table) != 2 * size - 1:
        table = F.interpolate(table.T[None], size=2 * size - 1, mode="linear", align_corners=False)[0].T
    place = torch.arange(size, device=table.device)
    return table[place[:, None] - place[None] + size - 1]


def decoder_layer(layer, tokens, memory, padding):
    tokens = layer.norm1(tokens + layer.dropout(attention(layer.self_attention, tokens, tokens)))
    tokens = layer.norm2(tokens + layer.dropout(attention(layer.cross_attention, tokens, memory, padding)))
    return layer.norm3(tokens + layer.dropout(layer.fc2(layer.dropout(F.relu(layer.fc1(tokens))))))


def attention(module, tokens, memory, padding=None):
    """Attention of `tokens` over `memory`, whose `padding` (`(batch_size, length)`, bool) is left out if given."""
    query, key, value = (
        projected.unflatten(-1, (-1, module.head_dim)).transpose(1, 2)
        for projected in (module.q_proj(tokens), module.k_proj(memory), module.v_proj(memory))
    )
    scores = query @ key.transpose(-1, -2) * module.head_dim**-0.5
    if padding is not None:
        scores = scores.masked_fill(padding[:, None, None], float("-inf"))
    weights = F.dropout(scores.softmax(-1), module.dropout, module.training)
    return module.out_proj((weights @ value).transpose(1, 2).flatten(2))


def plain_losses(config, outputs, labels) -> dict:
    """The weighted losses by the names of `PLVLModel`."""
    predicted = box_convert(outputs["pred_boxes"], "cxcywh", "xyxy")
    truth = box_convert(labels["boxes"], "cxcywh", "xyxy").clamp(0, 1)
    center = outputs["center_logits"].sigmoid().clamp(1e-4, 1 - 1e-4)
    heatmaps = [draw_heatmap(box, *center.shape[1:]) for box in labels["boxes"].tolist()]
    heatmap = torch.from_numpy(np.stack(heatmaps)).to(center)
    losses = {
        "loss_giou": config.loss_alpha * generalized_box_iou_loss(predicted, truth, reduction="mean"),
        "loss_l1": config.loss_alpha * F.l1_loss(predicted, truth),
        "loss_center": config.loss_alpha * center_loss(center, heatmap),
    }
    logits, masks, has_mask = outputs["pred_masks"].float(), labels["masks"].float(), labels["has_mask"].float()
    probability = logits.sigmoid()
    focal_logits = probability if config.mask_focal_input == "probability" else logits
    cross_entropy = F.binary_cross_entropy_with_logits(focal_logits, masks, reduction="none")
    right = probability * masks + (1 - probability) * (1 - masks)
    weight = 0.25 * masks + 0.75 * (1 - masks)
    focal = (weight * (1 - right) ** 2 * cross_entropy).flatten(1).mean(1)
    overlap = (probability * masks).flatten(1).sum(1)
    total = probability.flatten(1).sum(1) + masks.flatten(1).sum(1)
    dice = 1 - (2 * overlap + 1) / (total + 1)
    count = has_mask.sum().clamp(min=1)
    return losses | {
        "loss_mask_focal": (focal * has_mask).sum() / count,
        "loss_mask_dice": (dice * has_mask).sum() / count,
    }


def center_loss(probability, heatmap):
    is_center = (heatmap == 1).float()
    found = is_center * (1 - probability) ** 2 * torch.log(probability + 1e-5)
    missed = (1 - is_center) * (1 - heatmap) ** 4 * probability**2 * torch.log(1 - probability + 1e-5)
    count = is_center.sum()
    loss = -(found.sum() + missed.sum())
    return loss if count == 0 else loss / count


def draw_heatmap(box: list[float], rows: int, columns: int) -> np.ndarray:
    """The Gaussian of one box (cx, cy, w, h in 0..1): `(rows, columns)`, the part that falls inside."""
    x, y = round(box[0] * columns), round(box[1] * rows)
    radius = gaussian_radius(box[3] * rows, box[2] * columns)
    distance = np.arange(-radius, radius + 1)
    sigma = (2 * radius + 1) / 6
    gaussian = np.exp(-(distance[:, None] ** 2 + distance**2) / (2 * sigma**2))
    heatmap = np.zeros((rows, columns), dtype=np.float32)
    top, bottom = max(y - radius, 0), min(y + radius + 1, rows)
    left, right = max(x - radius, 0), min(x + radius + 1, columns)
    if top < bottom and left < right:
        heatmap[top:bottom, left:right] = gaussian[
            top - y + radius : bottom - y + radius, left - x + radius : right - x + radius
        ]
    return heatmap


def gaussian_radius(height: float, width: float) -> int:
    sides, area = height + width, height * width
    roots = [
        (b + np.sqrt(max(b * b - 4 * a * c, 0))) / 2
        for a, b, c in (
            (1, sides, area * 0.3 / 1.7),
            (4, 2 * sides, area * 0.3),
            (4 * 0.7, -2 * 0.7 * sides, -area * 0.3),
        )
    ]
    return int(max(min(roots), 0))
