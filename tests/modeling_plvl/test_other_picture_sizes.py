"""A model takes images of another size than it was made for: its position tables are resized as it runs."""

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModel

from original_checkpoints import small_config, small_plvl
from plvl.modeling_plvl.checkpoint_conversion import build_model, plvl_weights

GRID = 10  # of the larger image; the small model was made for 6 x 6


@pytest.fixture
def folder(tmp_path):
    model = build_model([plvl_weights({"model": small_plvl()}, "x.pth", small_config())], small_config())
    model.save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(0)
    return {
        "pixel_values": torch.randn(2, 3, 4 * GRID, 4 * GRID, generator=generator),
        "input_ids": torch.randint(1, 40, (2, 7), generator=generator),
    }


def resized_for_the_larger_image(state_dict):
    """The same weights with tables made for the larger grid, so that nothing is left to resize."""
    resized = dict(state_dict)
    name = "vision_encoder.embeddings.position_embeddings"
    grid = state_dict[name][:, 1:].unflatten(1, (3, 3)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(GRID, GRID), mode="bicubic", align_corners=False)
    resized[name] = grid.permute(0, 2, 3, 1).flatten(1, 2)
    for axis in "hw":
        name = f"vision_encoder.layers.2.attention.rel_pos_{axis}"
        table = state_dict[name].T[None]
        resized[name] = F.interpolate(table, size=2 * GRID - 1, mode="linear", align_corners=False)[0].T
    return resized


@torch.no_grad()
def test_a_larger_image_gives_what_tables_of_that_size_give(folder, inputs):
    model = AutoModel.from_pretrained(folder, vision_config={"image_size": 4 * GRID}).eval()
    assert model.config.vision_config.grid_size == GRID
    assert model.config.vision_config.hidden_size == 24

    larger = small_config()
    larger.vision_config.image_size = 4 * GRID
    larger.vision_config.position_grid_size = GRID
    larger.vision_config.has_class_position = False
    larger.vision_config.relative_position_grid_size = GRID
    expected = AutoModel.from_config(larger).eval()
    expected.load_state_dict(resized_for_the_larger_image(model.state_dict()))

    ours, theirs = model(**inputs), expected(**inputs)
    assert ours.pred_masks.shape == (2, 4 * GRID, 4 * GRID)
    for name in ("pred_boxes", "pred_masks", "center_logits", "size", "offset"):
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_tables_do_matter(folder, inputs):
    model = AutoModel.from_pretrained(folder).eval()
    before = model(**inputs).center_logits
    model.vision_encoder.layers[2].attention.rel_pos_h.zero_()
    assert not torch.allclose(model(**inputs).center_logits, before, atol=1e-3)
