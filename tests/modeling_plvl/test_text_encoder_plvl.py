"""Text encoders of every family: what of them is read, trained, masked, saved and taken from their checkpoints."""

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForMaskedLM, CLIPModel, SiglipModel, T5ForConditionalGeneration

from conftest import small_config
from plvl.modeling_plvl import PLVLModel
from plvl.modeling_plvl.checkpoint_conversion import build_model, text_weights
from plvl.modeling_plvl.text_encoder_plvl import ATTEND_TO_PADDING, text_encoder_class

SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "vocab_size": 60,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
FAMILIES = {
    "bert": SIZES,
    "roberta": SIZES | {"max_position_embeddings": 60},
    "distilbert": {"dim": 24, "n_layers": 2, "n_heads": 4, "hidden_dim": 40, "vocab_size": 60},
    "mpnet": SIZES | {"max_position_embeddings": 60},
    "modernbert": SIZES | {"cls_token_id": 1, "sep_token_id": 2, "global_attn_every_n_layers": 2},
    "deberta-v2": SIZES | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "t5": {"d_model": 24, "d_kv": 6, "d_ff": 40, "num_layers": 2, "num_heads": 4, "vocab_size": 60},
    "clip_text_model": SIZES | {"max_position_embeddings": 60},
    "siglip_text_model": SIZES | {"max_position_embeddings": 60},
    "siglip2_text_model": SIZES | {"max_position_embeddings": 60},
}
IDS = torch.randint(3, 60, (2, 9), generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([[1] * 9, [1] * 5 + [0] * 4])


def model_of(family) -> PLVLModel:
    torch.manual_seed(0)
    model = PLVLModel(small_config(text_config={"model_type": family} | FAMILIES[family]))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_is_trained(family):
    model = model_of(family)
    labels = {"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.4]]).repeat(2, 1), "masks": torch.ones(2, 64, 96)}
    model(pixel_values=torch.randn(2, 3, 64, 96), input_ids=IDS, attention_mask=MASK, labels=labels).loss.backward()
    assert [name for name, each in model.named_parameters() if each.grad is None] == []


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_states_of_an_expression_are_those_of_the_encoder_alone(family):
    model = model_of(family).eval()
    found = model(pixel_values=torch.randn(2, 3, 64, 96), input_ids=IDS, attention_mask=MASK).text_last_hidden_state
    mask = {} if family in ATTEND_TO_PADDING else {"attention_mask": MASK}
    torch.testing.assert_close(found, model.text_encoder(input_ids=IDS, **mask).last_hidden_state)
    other = torch.where(MASK == 1, IDS, 7)
    changed = model.text_encoder(input_ids=other, **mask).last_hidden_state
    # An encoder that is masked does not see what stands in the padding; SigLIP's was trained to.
    assert torch.allclose(found[MASK == 1], changed[MASK == 1], atol=1e-5) == (family not in ATTEND_TO_PADDING)


@pytest.mark.parametrize("family", ["bert", "siglip_text_model"])
@torch.no_grad()
def test_expressions_are_encoded_once_for_many_images(family):
    model = model_of(family).eval()
    text_embeds = model.get_text_features(IDS, MASK).last_hidden_state
    for seed in range(2):
        torch.manual_seed(seed)
        pixel_values = torch.randn(1, 3, 64, 96)
        found = model(pixel_values=pixel_values, text_embeds=text_embeds, attention_mask=MASK)
        expected = model(pixel_values=pixel_values, input_ids=IDS, attention_mask=MASK)
        torch.testing.assert_close(found.center_logits, expected.center_logits)
        torch.testing.assert_close(found.pred_masks, expected.pred_masks)
    whole = model(pixel_values=pixel_values, text_embeds=text_embeds)
    torch.testing.assert_close(
        whole.center_logits,
        model(pixel_values=pixel_values, text_embeds=text_embeds, attention_mask=torch.ones_like(MASK)).center_logits,
    )
    with pytest.raises(ValueError, match="Give one of input_ids and text_embeds, got both"):
        model(pixel_values=pixel_values, input_ids=IDS, text_embeds=text_embeds)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_model_comes_back_from_disk_with_its_encoder(family, tmp_path):
    model, inputs = model_of(family).eval(), {"pixel_values": torch.randn(2, 3, 64, 96), "input_ids": IDS}
    model.save_pretrained(tmp_path)
    loaded, info = PLVLModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert torch.equal(loaded.eval()(**inputs).center_logits, model(**inputs).center_logits)


def pretrained(family):
    """With all that the family's pre-training adds to the text encoder."""
    if family == "t5":
        return T5ForConditionalGeneration(CONFIG_MAPPING["t5"](**FAMILIES["t5"]))
    if family in ("clip_text_model", "siglip_text_model"):
        vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        kind = family.removesuffix("_text_model")
        config = CONFIG_MAPPING[kind](text_config=FAMILIES[family], vision_config=vision | {"image_size": 32})
        return {"clip": CLIPModel, "siglip": SiglipModel}[kind](config)
    return AutoModelForMaskedLM.from_config(CONFIG_MAPPING[family](**FAMILIES[family]))


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "siglip2_text_model"])
def test_a_checkpoint_of_the_family_brings_all_of_the_encoder(family, tmp_path):
    pretrained(family).save_pretrained(tmp_path)
    weights = text_weights(tmp_path)
    model = build_model([weights], small_config())
    config = model.config.text_config
    assert config.model_type == family
    truth = text_encoder_class(config).from_pretrained(tmp_path, config=config).state_dict()
    ours = model.text_encoder.state_dict()
    assert ours and all(torch.equal(ours[name], truth[name]) for name in ours)


def test_what_reads_no_text_is_refused_by_its_type(tmp_path):
    for kind in ("vit", "bart"):
        with pytest.raises(ValueError, match=f"text_config: a model of the type '{kind}' gives no states"):
            PLVLModel(small_config(text_config={"model_type": kind}))
