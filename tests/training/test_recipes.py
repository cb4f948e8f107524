"""Every recipe of the project can be read, and says what the paper's protocol says."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from transformers import get_scheduler

import shapes_bundle
from plvl.checkpoints import CARRIED_CHECKPOINTS
from plvl.data.loading import READERS
from plvl.data.mixtures import MIXTURES
from plvl.data.refshapes import make_referred_scene, split_of
from plvl.modeling_plvl import PLVLModel
from plvl.scripts import run_grounding
from plvl.training import PLVLTrainingArguments
from plvl.training.arguments import divide_total_batch
from plvl.training.recipe import DataArguments, ModelArguments, parse_recipe
from plvl.training.starting_model import new_config

CONFIGURATION = Path(__file__).parents[2] / "configuration"
RECIPES = sorted((CONFIGURATION / "recipes").glob("*.yaml"))
# dataset, split_by, evaluated splits, tasks, loss_alpha, epochs, total batch
PROTOCOL = {
    "refcoco": ("refcoco", "unc", ["val", "testA", "testB"], ["rec", "res"], 0.1, 150, 80),
    "refcoco+": ("refcoco+", "unc", ["val", "testA", "testB"], ["rec", "res"], 0.1, 150, 80),
    "refcocog_umd": ("refcocog", "umd", ["val", "test"], ["rec", "res"], 0.1, 150, 80),
    "refcocog_google": ("refcocog", "google", ["val"], ["rec", "res"], 0.1, 150, 80),
    "referit": ("refclef", "berkeley", ["val", "test"], ["rec"], 0.1, 150, 80),
    "flickr30k": ("flickr30k", None, ["val", "test"], ["rec"], 0.1, 150, 80),
    "mixed_pretrain": ("mixed_pretrain", None, ["val"], ["rec"], 0.5, 20, 160),
    "mixed_coco": ("mixed_coco", None, ["val"], ["rec", "res"], 0.05, 150, 160),
}


def parse(recipe, *flags):
    # There may be no GPU for mixed precision here.
    precision = ["--fp16", "false"] if "fp16" in recipe.read_text(encoding="utf-8") else []
    classes = (ModelArguments, DataArguments, PLVLTrainingArguments)
    return parse_recipe(classes, [str(recipe), "--use_cpu", "true", *precision, *flags])


@pytest.mark.parametrize("name", ["cpu", "one_gpu"])
def test_accelerates_launcher_leaves_an_error_of_one_process_to_the_run(name):
    file = str(CONFIGURATION / f"accelerate/{name}.yaml")
    arguments = launch_command_parser().parse_args(["--config_file", file, "run_grounding.py"])
    assert not arguments.quiet
    assert _validate_launch_command(arguments)[0].quiet


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_a_recipe_builds_its_model(recipe):
    model, data, training = parse(recipe)
    names = {data.dataset} if isinstance(data.dataset, str) else set(data.dataset)
    assert names <= {*READERS, *MIXTURES}
    assert training.do_train or training.do_eval
    assert model.model_name_or_path or training.do_train
    with torch.device("meta"):
        built = PLVLModel(new_config(model))
    assert (model.tasks or ["rec", "res"]) == list(built.config.tasks)


@pytest.mark.parametrize("name", PROTOCOL)
def test_a_recipe_of_the_paper_has_its_numbers(name):
    dataset, split_by, splits, tasks, alpha, epochs, total = PROTOCOL[name]
    model, data, training = parse(CONFIGURATION / f"recipes/{name}.yaml")
    assert (data.dataset, data.split_by, data.eval_splits) == (dataset, split_by, splits)
    assert (model.tasks, model.loss_alpha) == (tasks, alpha)
    assert (training.num_train_epochs, training.total_train_batch_size) == (epochs, total)
    assert training.per_device_train_batch_size * training.gradient_accumulation_steps == total
    rates = training.text_learning_rate, training.vision_learning_rate, training.learning_rate
    assert rates == (5e-6, 1e-5, 2.5e-5)
    assert (training.weight_decay, training.max_grad_norm, training.lr_decay_by) == (1e-4, 0, "epoch")
    assert training.lr_scheduler_kwargs["power"] == 0.9
    assert yaml.safe_load((CONFIGURATION / f"recipes/{name}.yaml").read_text(encoding="utf-8"))["fp16"]


@pytest.mark.parametrize("name", ["refcoco", "refcoco+", "refcocog_umd", "refcocog_google", "referit", "flickr30k"])
def test_each_trained_split_has_a_recipe_that_evaluates_it(name):
    _, trained, training = parse(CONFIGURATION / f"recipes/{name}.yaml")
    model, evaluated, _ = parse(CONFIGURATION / f"recipes/evaluate_{name}.yaml")
    assert (evaluated.dataset, evaluated.split_by) == (trained.dataset, trained.split_by)
    assert evaluated.eval_splits == trained.eval_splits
    assert model.model_name_or_path == f"{training.output_dir}/best_box_accuracy"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("no_language_in_vision", {"cross_attention_layers": []}),
        ("mask_apart", {"mask_shares_center": False}),
        ("rec_only", {"tasks": ["rec"]}),
        ("res_only", {"tasks": ["res"]}),
    ],
)
def test_an_ablation_is_the_quickstart_but_for_one_thing(name, change):
    model, data, training = parse(CONFIGURATION / "recipes/quickstart.yaml")
    ablation, ablation_data, ablation_training = parse(CONFIGURATION / f"recipes/ablation_{name}.yaml")
    assert ablation.model_config | ablation.changes == model.model_config | change
    assert ablation_data == data
    arguments = training.to_dict()
    assert ablation_training.to_dict() == arguments | {"output_dir": f"outputs/ablation/{name}"}


def test_the_carried_checkpoint_is_evaluated_bundled_and_gone_on_from_where_its_recipes_say():
    _, trained, training = parse(CONFIGURATION / "recipes/refshapes_tiny.yaml")
    model, evaluated, evaluation = parse(CONFIGURATION / "recipes/evaluate_refshapes_tiny.yaml")
    assert model.model_name_or_path == evaluation.output_dir == training.output_dir
    assert evaluated.eval_splits == ["val", "testA", "testB"] and evaluation.do_predict and not evaluation.bf16
    makefile = (CONFIGURATION.parent / "Makefile").read_text(encoding="utf-8")
    for name, data in (("TINY_DATA", trained), ("TINY_EVALUATION", evaluated)):
        folder = re.search(rf"^{name} := (.+)$", makefile, re.M)[1]
        assert (data.image_root, data.label_root) == (f"{folder}/images", f"{folder}/labels")
    carried = CARRIED_CHECKPOINTS["shapes"].relative_to(CONFIGURATION.parent)
    assert f"BUNDLE ?= {carried}\n" in makefile and f"TINY := {training.output_dir}\n" in makefile
    assert str(carried) == shapes_bundle.NAME
    demo, demo_data, demo_training = parse(CONFIGURATION / "recipes/demo.yaml")
    assert demo.model_name_or_path == str(carried)
    assert f"DEMO := {demo_training.output_dir}\n" in makefile and demo_data.eval_splits == ["testC", "val"]
    folder = re.search(r"^DEMO_DATA := (.+)$", makefile, re.M)[1]
    assert (demo_data.image_root, demo_data.label_root) == (f"{folder}/images", f"{folder}/labels")


def test_the_checkpoint_of_photographs_is_made_evaluated_and_bundled_where_its_recipes_say():
    model, trained, training = parse(CONFIGURATION / "recipes/photos_small.yaml")
    evaluated_model, evaluated, evaluation = parse(CONFIGURATION / "recipes/evaluate_photos_small.yaml")
    assert evaluated_model.model_name_or_path == evaluation.output_dir == training.output_dir
    assert evaluation.do_predict and not evaluation.bf16 and evaluated.eval_splits == [evaluated.choose_thresholds]
    # What is evaluated lies where what is trained on does; RefShapes is trained on alone.
    roots = {
        name: {root: said[root] for root in ("image_root", "label_root")} for name, said in trained.dataset.items()
    }
    of_shapes = roots.pop("refshapes")
    assert evaluated.dataset.keys() == roots.keys()
    colored = roots["detection"]["label_root"]
    roots["detection"]["label_root"] = evaluated.dataset["detection"]["label_root"]
    assert all(evaluated.dataset[name][root] == place for name, both in roots.items() for root, place in both.items())
    any_shapes = parse(CONFIGURATION / "recipes/refshapes_any.yaml")
    coarse, seen_first, coarse_training = parse(CONFIGURATION / "recipes/photos_coarse.yaml")
    fine, seen_then, fine_training = parse(CONFIGURATION / "recipes/photos_fine.yaml")
    assert coarse.initial_model == any_shapes[2].output_dir and fine.initial_model == coarse_training.output_dir
    assert model.model_name_or_path == fine_training.output_dir
    for seen in (seen_first, seen_then):
        assert list(seen.dataset) == list(trained.dataset)
        for name, said in seen.dataset.items():
            before = said | {"weight": None, "label_root": colored if name == "detection" else said["label_root"]}
            assert before == trained.dataset[name] | {"weight": None}, name
    # What the second part takes must fit: the blocks, decoder and text encoder are the same.
    changed = {"backbone_config", "image_size", "patch_size", "window_size"}
    vision = [
        {key: value for key, value in each.model_config["vision_config"].items() if key not in changed}
        for each in (coarse, fine)
    ]
    assert vision[0] == vision[1]
    assert coarse.model_config | {"vision_config": None} == fine.model_config | {"vision_config": None}
    assert of_shapes == {"image_root": any_shapes[1].image_root, "label_root": any_shapes[1].label_root}
    makefile = (CONFIGURATION.parent / "Makefile").read_text(encoding="utf-8")
    assert f"ANY_DATA := {of_shapes['image_root'].removesuffix('/images')}\n" in makefile
    assert f"PHOTOS_MODEL := {training.output_dir}\n" in makefile
    labels, images = (evaluated.dataset["detection"][root] for root in ("label_root", "image_root"))
    assert re.search(
        rf"plvl data colors {labels}/instances_train.json \\\n\s+--image_root {images} \\\n"
        rf"\s+--output {colored}/instances_train.json\n",
        makefile,
    )
    assert "PHOTOS_BUNDLE ?= checkpoints/plvl-small-photos\n" in makefile
    assert CARRIED_CHECKPOINTS["photos"].name == "plvl-small-photos"


def test_the_demo_asks_for_the_new_shape_of_its_set_about_an_image_that_was_not_trained_on():
    makefile = (CONFIGURATION.parent / "Makefile").read_text(encoding="utf-8")
    [new_shape] = re.findall(r"--output \$\(DEMO_DATA\) .*--seed 0 --new_shape (\w+)$", makefile, re.M)
    number = int(re.search(r"^IMAGE := .*refshapes_(\d+)\.jpg$", makefile, re.M)[1])
    assert re.search(r"^EXPRESSION := (.+)$", makefile, re.M)[1] == f"the {new_shape}"
    assert split_of(number - 1, new_shape) == "testC"
    names = [shape.name for shape in make_referred_scene(0, number - 1, new_shape=new_shape).scene.shapes]
    assert names.count(new_shape) == 1 < len(names)


@pytest.mark.parametrize("name", ["refshapes_tiny", "demo"])
def test_training_on_refshapes_leaves_expressions_true(name):
    _, data, _ = parse(CONFIGURATION / f"recipes/{name}.yaml")
    steps = [
        type(step).__name__ for step in run_grounding.make_augmentation(data, {"height": 112, "width": 112}).transforms
    ]
    assert steps == ["RandomLongSide", "RandomMirror", "Stretch"]


@pytest.mark.parametrize("name", ["refshapes_tiny", "demo"])
def test_the_tiny_models_learning_rate_rises_and_falls_to_nothing(name):
    _, _, training = parse(CONFIGURATION / f"recipes/{name}.yaml")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    steps, warmup = training.max_steps, training.get_warmup_steps(training.max_steps)
    schedule = {"num_warmup_steps": warmup, "num_training_steps": steps}
    kwargs = training.lr_scheduler_kwargs
    scheduler = get_scheduler(training.lr_scheduler_type, optimizer, **schedule, scheduler_specific_kwargs=kwargs)
    [factor] = scheduler.lr_lambdas
    assert factor(0) == 0 and factor(warmup) == 1 and factor(steps) < 1e-6


def test_the_originals_choices_are_flags():
    flags = ["--tasks", "rec", "--cross_attention_layers", "5", "11", "--loss_alpha", "0.5"]
    model, _, training = parse(CONFIGURATION / "recipes/refcoco.yaml", *flags, "--freeze_text_encoder")
    config = new_config(model)
    assert (config.tasks, config.cross_attention_layers, config.loss_alpha) == (["rec"], [5, 11], 0.5)
    assert training.freeze_text_encoder and not training.freeze_vision_encoder


@pytest.mark.parametrize("file", sorted((CONFIGURATION / "accelerate").glob("*.yaml")), ids=lambda file: file.stem)
def test_accelerate_reads_its_configurations(file):
    config = load_config_from_file(str(file))
    expected = {"cpu": 1, "one_gpu": 1, "4_gpus": 4, "8_gpus": 8, "several_nodes": 16, "fsdp": 4, "2_cpu_processes": 2}
    assert config.num_processes == expected[file.stem]


@pytest.mark.parametrize(
    ("processes", "most_at_once", "expected"),
    [(4, 20, (20, 1)), (1, 20, (20, 4)), (8, 20, (10, 1)), (2, 15, (10, 4)), (5, 20, (16, 1)), (80, 20, (1, 1))],
)
def test_other_numbers_of_gpus_keep_the_total_batch(processes, most_at_once, expected):
    assert divide_total_batch(80, processes, most_at_once) == expected
    assert processes * expected[0] * expected[1] == 80


def test_a_batch_that_the_processes_cannot_share_is_refused():
    with pytest.raises(ValueError, match="80 cannot be shared by 3 processes; it can by 1, 2, 4, 5, 8, 10"):
        divide_total_batch(80, 3, 20)


def test_total_batch_and_accumulation_exclude_each_other(tmp_path):
    with pytest.raises(ValueError, match="give one of them"):
        PLVLTrainingArguments(str(tmp_path), use_cpu=True, total_train_batch_size=8, gradient_accumulation_steps=2)


@pytest.mark.parametrize("wrong", [{"lr_decay_by": "day"}, {"lr_decay_by": "epoch", "warmup_steps": 5}])
def test_a_schedule_that_there_is_not_is_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="lr_decay_by"):
        PLVLTrainingArguments(str(tmp_path), use_cpu=True, **wrong)
