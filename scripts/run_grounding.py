"""Trains PLVL and evaluates it, on any number of processes; RECIPE is a file, or the name of a carried one.

accelerate launch -m plvl.scripts.run_grounding RECIPE [--flag value ...]
"""

import logging
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import transformers

from plvl.processing.augmentation import training_augmentation
from plvl.processing.word_vocabulary import plain_words
from plvl.scripts.carried_recipes import with_recipe_file
from plvl.scripts.program import run_as_program, show_progress
from plvl.training import PLVLTrainer, PLVLTrainingArguments
from plvl.training.callbacks import DrawGallery
from plvl.training.checkpoints import agreed_checkpoint, explained_failure
from plvl.training.gallery import draw_gallery, one_row_per_image
from plvl.training.preflight import Preflight
from plvl.training.recipe import DataArguments, ModelArguments, parse_recipe
from plvl.training.results import metrics_by_split, print_summary, write_metrics, write_predictions
from plvl.training.run_data import RunData, report_cut_expressions
from plvl.training.run_lock import sole_run_in
from plvl.training.signals import EXIT_AFTER_SIGTERM, end_on_sigterm, end_with_launcher
from plvl.training.starting_model import check_model, load_or_make_model
from plvl.training.thresholds import choose_and_save_thresholds, refuse_thresholds
from plvl.training.training_settings import write_training_settings

logger = logging.getLogger(__name__)


def main(argv=None):
    check_and_run(*parse(argv))


def parse(argv=None) -> tuple[ModelArguments, DataArguments, PLVLTrainingArguments]:
    """What a recipe and flags say."""
    show_progress()
    words = with_recipe_file(sys.argv[1:] if argv is None else argv)
    return parse_recipe((ModelArguments, DataArguments, PLVLTrainingArguments), words)


def check_and_run(model_args: ModelArguments, data_args: DataArguments, training_args: PLVLTrainingArguments):
    """Looks whether the run can come to its end, and runs it."""
    transformers.logging.set_verbosity(training_args.get_process_log_level())
    if not (training_args.do_train or training_args.do_eval or training_args.do_predict):
        raise ValueError("there is nothing to do: set do_train, do_eval or do_predict")
    transformers.set_seed(training_args.seed)

    check = Preflight(training_args)
    data = RunData(data_args, training_args, check)
    for problem in check_model(model_args, training_args.do_train):
        check.note(problem)
    check.output_dir()
    check.hub()
    check.end()
    with sole_run_in(training_args.output_dir) if training_args.process_index == 0 else nullcontext():
        run(model_args, data_args, training_args, data, check)


def run(model_args, data_args, training_args, data: RunData, check: Preflight):
    """Trains and evaluates, as far as the arguments say, once nothing is known to be in the way."""
    model, processor = load_or_make_model(model_args, data.expressions if training_args.do_train else None)
    check.disk(model)
    if data_args.choose_thresholds:
        with check.noting(""):
            refuse_thresholds(model.config)
    check.end()
    if training_args.do_train:
        report_cut_expressions(processor, data.expressions())
    trainer = PLVLTrainer(
        model=model,
        args=training_args,
        processing_class=processor,
        augmentation=make_augmentation(data_args, processor.image_processor.size, processor.tokenizer),
        train_dataset=data.train,
        eval_dataset=data.validation,
    )
    if data.validation and data_args.gallery_size and not trainer.is_fsdp_enabled:
        trainer.add_callback(DrawGallery(trainer, one_row_per_image(data.validation, data_args.gallery_size)))
    if training_args.do_train:
        train(trainer, model_args, data_args)
    if data.threshold_rows is not None:
        is_local = not training_args.do_train and Path(model_args.model_name_or_path).is_dir()
        folder = model_args.model_name_or_path if is_local else training_args.output_dir
        choose_and_save_thresholds(trainer, data.threshold_rows, folder)
    if training_args.do_eval or training_args.do_predict:
        evaluate(trainer, data.splits, data_args)


def make_augmentation(data_args: DataArguments, size, tokenizer=None):
    if not data_args.augmentation:
        return None
    given = data_args
    words = plain_words(tokenizer) if given.aug_words else ()
    return training_augmentation(
        size, given.aug_crop, given.aug_scale, given.aug_color, given.aug_blur, words, given.aug_words
    )


def train(trainer: PLVLTrainer, model_args: ModelArguments, data_args: DataArguments):
    """Begins the run, or goes on with it where an earlier one of the same command was stopped."""
    args = trainer.args
    checkpoint = args.resume_from_checkpoint or agreed_checkpoint(args.output_dir)
    if checkpoint:
        logger.info("the run goes on from %s", checkpoint)
    trainer.train(resume_from_checkpoint=checkpoint)
    if trainer.interrupted:
        sys.exit(EXIT_AFTER_SIGTERM)
    cut = getattr(trainer.data_collator, "num_cut", 0)
    if cut:
        logger.warning("%d rows had more than %d objects (max_targets)", cut, trainer.model.config.max_targets)
    with explained_failure(args.output_dir, "the model", args.should_save):
        write_training_settings(trainer, model_args, data_args)
        trainer.save_model()


def evaluate(trainer: PLVLTrainer, splits: dict, data_args: DataArguments):
    """Writes metrics.json, a gallery and the predictions, as far as they are asked for."""
    args = trainer.args
    metrics: dict[str, dict[str, float]] = {}
    Path(args.output_dir).mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        start = time.time()
        evaluated = trainer.evaluation_pass(rows, keep_answers=args.do_predict)
        if args.do_eval:
            # Parquet's rows keep the name of their set.
            dataset = next(iter(evaluated.statistics)) if len(evaluated.statistics) == 1 else data_args.dataset
            metrics |= metrics_by_split(trainer.report(evaluated, split, start), dataset, split)
        if args.do_predict and trainer.is_world_process_zero():
            print(f"predictions: {write_predictions(args.output_dir, split, evaluated.answers)}")
    if args.do_eval and trainer.is_world_process_zero():
        write_metrics(args.output_dir, metrics)
        if data_args.gallery_size and not trainer.is_fsdp_enabled:
            rows = one_row_per_image(splits[data_args.eval_splits[0]], data_args.gallery_size)
            draw_gallery(trainer.model, trainer.processing_class, rows).save(Path(args.output_dir, "gallery.png"))
        print_summary(trainer.state.log_history, metrics)


if __name__ == "__main__":
    end_on_sigterm()
    end_with_launcher()
    run_as_program(main)
