"""The network learns: a small model fits the expressions of two real photographs."""

import torch

from plvl.configuration import PLVLConfig
from plvl.data import load_grounding_dataset
from plvl.data.collator import GroundingCollator
from plvl.modeling_plvl import PLVLModel
from plvl.processing import PLVLImageProcessor, PLVLProcessor
from plvl.processing.word_vocabulary import build_word_vocabulary
from plvl.training import grounding_metrics, grounding_statistics

MAX_STEPS = 400


def test_a_small_model_fits_the_training_expressions_of_two_photographs(mini_refer):
    rows = list(load_grounding_dataset("refcoco", "train", **mini_refer))
    assert len(rows) == 17
    tokenizer = build_word_vocabulary(row["text"] for row in rows)
    size = 160
    processor = PLVLProcessor(PLVLImageProcessor(size={"height": size, "width": size}), tokenizer)
    batch = GroundingCollator(processor)(rows)

    torch.manual_seed(0)
    model = PLVLModel(fitting_config(size, len(tokenizer)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=MAX_STEPS, pct_start=0.1)
    for step in range(MAX_STEPS):
        model.train()
        optimizer.zero_grad()
        outputs = model(**batch)
        outputs.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if step % 25 == 24:
            metrics = evaluate(model, batch)
            if metrics["box_accuracy"] == 1 and metrics["mask_miou"] >= 0.82:
                break
    assert metrics["box_accuracy"] == 1
    assert metrics["mask_miou"] >= 0.8


@torch.no_grad()
def evaluate(model, batch):
    outputs = model.eval()(**batch)
    return grounding_metrics(grounding_statistics(outputs, batch["labels"]).numpy())


def fitting_config(image_size: int, vocab_size: int) -> PLVLConfig:
    return PLVLConfig(
        vision_config={
            "image_size": image_size,
            "hidden_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 3,
            "drop_path_rate": 0.0,
            "window_size": 5,
            "global_attention_layers": [1, 2],
            "position_grid_size": image_size // 16,
            "relative_position_grid_size": image_size // 16,
        },
        text_config={
            "model_type": "bert",
            "vocab_size": vocab_size,
            "hidden_size": 96,
            "num_hidden_layers": 1,
            "num_attention_heads": 3,
            "intermediate_size": 96,
            "max_position_embeddings": 64,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        cross_attention_layers=[1, 2],
        cross_attention_heads=3,
        cross_attention_dropout=0.0,
        adapter_size=32,
        decoder_hidden_size=96,
        decoder_layers=1,
        decoder_attention_heads=3,
        decoder_ffn_dim=192,
        decoder_dropout=0.0,
        head_channels=64,
        head_hidden_channels=32,
        mask_focal_input="logit",
        loss_alpha=1.0,
    )
