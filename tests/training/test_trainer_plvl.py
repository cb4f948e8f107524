import torch

from plvl.training import PLVLTrainer, PLVLTrainingArguments


def make_trainer(model, processor, picture, tmp_path, **arguments):
    rows = [
        {
            "image": picture,
            "text": text,
            "bbox": [10, 5, 20, 20],
            "segmentation": segmentation,
            "height": 40,
            "width": 60,
        }
        for text, segmentation in (
            ("the red square", {"polygons": [[10, 5, 30, 5, 30, 25, 10, 25]], "size": None, "counts": None}),
            ("the man", None),
        )
    ]
    defaults = {"output_dir": str(tmp_path), "use_cpu": True, "report_to": "none", "save_strategy": "no"}
    args = PLVLTrainingArguments(**(defaults | arguments))
    return PLVLTrainer(model=model, args=args, processing_class=processor, train_dataset=rows, eval_dataset=rows)


def test_each_part_has_its_learning_rate_and_norms_no_decay(model, processor, picture, tmp_path):
    trainer = make_trainer(model, processor, picture, tmp_path)
    groups = trainer.create_optimizer().param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    group_of = {names[id(parameter)]: group for group in groups for parameter in group["params"]}
    assert len(group_of) == len(names)
    assert group_of["text_encoder.embeddings.word_embeddings.weight"]["lr"] == 5e-6
    assert group_of["vision_encoder.layers.0.fc1.weight"]["lr"] == 1e-5
    assert group_of["decoder.layers.0.fc1.weight"]["lr"] == 2.5e-5
    assert group_of["decoder.layers.0.fc1.weight"]["weight_decay"] == 1e-4
    assert group_of["decoder.layers.0.norm1.weight"]["weight_decay"] == 0


def test_the_log_names_every_loss(model, processor, picture, tmp_path):
    trainer = make_trainer(model, processor, picture, tmp_path, max_steps=2, logging_steps=1)
    trainer.train()
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    parts = ("loss_giou", "loss_l1", "loss_center", "loss_mask_focal", "loss_mask_dice")
    assert len(entries) == 2
    for entry in entries:
        torch.testing.assert_close(sum(entry[part] for part in parts), entry["loss"], atol=1e-3, rtol=1e-3)


def test_evaluation_counts_every_row_once(model, processor, picture, tmp_path):
    trainer = make_trainer(model, processor, picture, tmp_path, per_device_eval_batch_size=1)
    metrics = trainer.evaluate()
    assert metrics["eval_num_samples"] == 2
    assert {"eval_loss", "eval_box_accuracy", "eval_mask_miou", "eval_mask_oiou"} <= set(metrics)
