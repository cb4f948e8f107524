"""Trains PLVL and evaluates it: accelerate launch scripts/run_grounding.py RECIPE.yaml [--flag value ...]"""

import json
import sys
from pathlib import Path

from transformers import AutoModel, AutoProcessor, AutoTokenizer, set_seed

from plvl.configuration import PLVLConfig
from plvl.data import load_grounding_dataset
from plvl.modeling_plvl import PLVLModel
from plvl.processing import PLVLImageProcessor, PLVLProcessor
from plvl.processing.augmentation import training_augmentation
from plvl.processing.wordpiece import learn_wordpiece
from plvl.training import PLVLTrainer, PLVLTrainingArguments
from plvl.training.gallery import draw_gallery, one_row_per_picture
from plvl.training.recipe import DataArguments, ModelArguments, parse_recipe


def main(argv=None):
    arguments = (ModelArguments, DataArguments, PLVLTrainingArguments)
    model_args, data_args, training_args = parse_recipe(arguments, sys.argv[1:] if argv is None else argv)
    set_seed(training_args.seed)

    def load(split, **order):
        roots = data_args.image_root, data_args.label_root
        return load_grounding_dataset(data_args.dataset, split, *roots, split_by=data_args.split_by, **order)

    buffer_size = data_args.shuffle_buffer_size
    train_dataset = load(data_args.train_split, shuffle_buffer=buffer_size, seed=training_args.seed)
    eval_datasets = {split: load(split) for split in data_args.eval_splits}
    model, processor = load_or_make_model(model_args, train_dataset)

    trainer = PLVLTrainer(
        model=model,
        args=training_args,
        processing_class=processor,
        train_dataset=train_dataset,
        augmentation=make_augmentation(data_args, processor.image_processor.size),
    )
    trainer.train()
    trainer.save_model()

    metrics = {}
    for split, eval_dataset in eval_datasets.items():
        evaluated = trainer.evaluate(eval_dataset, metric_key_prefix=split)
        metrics[f"{data_args.dataset}/{split}"] = {
            name.removeprefix(f"{split}_"): value for name, value in evaluated.items() if name.startswith(f"{split}_")
        }
    if trainer.is_world_process_zero():
        rows = one_row_per_picture(eval_datasets[data_args.eval_splits[0]], data_args.gallery_size)
        output_dir = Path(training_args.output_dir)
        draw_gallery(trainer.model, processor, rows).save(output_dir / "gallery.png")
        (output_dir / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        print_summary(trainer.state.log_history, metrics)


def load_or_make_model(model_args: ModelArguments, train_dataset):
    """A model with its processor: the one to go on from, or a new one of the configuration asked for."""
    if model_args.model_name_or_path:
        model = AutoModel.from_pretrained(model_args.model_name_or_path)
        return model, AutoProcessor.from_pretrained(model_args.model_name_or_path)
    if model_args.tokenizer_name_or_path:
        tokenizer = AutoTokenizer.from_pretrained(model_args.tokenizer_name_or_path)
    else:
        tokenizer = learn_wordpiece(row["text"] for row in train_dataset.remove_columns("image"))
    config = PLVLConfig(**model_args.model_config)
    config.text_config.vocab_size = len(tokenizer)
    image_size = config.vision_config.image_size
    image_processor = PLVLImageProcessor(size={"height": image_size, "width": image_size})
    return PLVLModel(config), PLVLProcessor(image_processor, tokenizer)


def make_augmentation(data_args: DataArguments, size):
    if not data_args.augmentation:
        return None
    return training_augmentation(size, data_args.aug_crop, data_args.aug_scale, data_args.aug_blur)


def print_summary(log_history: list[dict], metrics: dict[str, dict[str, float]]):
    losses = [(entry["step"], entry["loss"]) for entry in log_history if "loss" in entry]
    print("\nstep        loss")
    for step, loss in losses[:: max(len(losses) // 8, 1)]:
        print(f"{step:>6}  {loss:>8.4f}")
    columns = {
        "expressions": "num_samples",
        "box accuracy": "box_accuracy",
        "(centre box)": "center_box_accuracy",
        "mask mIoU": "mask_miou",
        "mask oIoU": "mask_oiou",
    }
    print("\n" + f"{'split':<20}" + "".join(f"{title:>14}" for title in columns))
    for split, values in metrics.items():
        cells = [values.get(name) for name in columns.values()]
        print(f"{split:<20}" + "".join(f"{'-' if cell is None else format(cell, '.4g'):>14}" for cell in cells))
    print("(centre box: what a box in the middle of each picture, of the split's mean size, would get)")


if __name__ == "__main__":
    main()
