"""Recipes: a YAML file and command-line flags together fill the arguments of a run, flags winning.

A recipe may build on another: `base: quickstart.yaml` names it, from the recipe's own folder, and the recipe says only
what it changes. A mapping in it is merged into the base's; any other value takes the place of the base's, and so does
the configuration of another kind of encoder (another model_type or architecture).
"""

import difflib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from transformers import HfArgumentParser

from plvl.configuration.earlier_names import current_arguments
from plvl.data.sample_validation import MAX_SKIPPED


@dataclass
class ModelArguments:
    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "Folder or Hub name of a PLVL model to go on from; without it one is made new."},
    )
    model_config: dict | str | None = field(
        default=None, metadata={"help": "Configuration of a new model (fields of PLVLConfig), as JSON."}
    )
    tokenizer_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "Tokenizer of a new model; without it a vocabulary is learned from the training expressions."
        },
    )

    vision_weights: str | None = field(
        default=None,
        metadata={
            "help": "What a new model's vision encoder starts from: detectron2's ViTDet (.pkl) or timm's SAM ViT (a "
            "state dict); with backbone_config, the backbone's weights: a file, a folder or Hub name."
        },
    )
    text_weights: str | None = field(
        default=None,
        metadata={"help": "What a new model's text encoder starts from, and its tokenizer: a folder or Hub name."},
    )
    text_vocabulary: str | None = field(
        default=None,
        metadata={
            "help": "Expressions whose word pieces are all that text_weights keep of their vocabulary, beside single "
            "characters: a file with one on each line, or 'training' for those that are trained on."
        },
    )
    initial_model: str | None = field(
        default=None,
        metadata={
            "help": "A PLVL model of another make (other encoders, another vocabulary) of which a new one takes every "
            "tensor that fits, and the embeddings of words that both have: a folder or Hub name."
        },
    )
    attn_implementation: str | None = field(
        default=None,
        metadata={
            "help": "How attention is computed: eager, sdpa or another that Transformers knows; by default sdpa."
        },
    )
    tasks: list[str] | None = field(
        default=None, metadata={"help": "rec for boxes, res for masks, or both; of a new model or a given one."}
    )
    targets: str | None = field(
        default=None,
        metadata={
            "help": "How many objects an expression may mean: one, or any for none, one or several. A model of one "
            "starts a model of any."
        },
    )
    max_targets: int | None = field(default=None, metadata={"help": "With targets any, boxes of an answer at most."})
    cross_attention_layers: list[int] | None = field(
        default=None, metadata={"help": "The vision blocks with cross-attention to the text."}
    )
    loss_alpha: float | None = field(
        default=None, metadata={"help": "Weight of the three box losses beside the two of the mask."}
    )

    def __post_init__(self):
        if isinstance(self.model_config, str):
            self.model_config = _from_json("model_config", self.model_config)
        if not isinstance(self.model_config, dict | None):
            raise ValueError(f"model_config must be a mapping of fields of PLVLConfig, got {self.model_config!r}")

    @property
    def changes(self) -> dict:
        """Fields of PLVLConfig that have arguments of their own, as far as they are given."""
        names = ("tasks", "targets", "max_targets", "cross_attention_layers", "loss_alpha")
        given = {name: getattr(self, name) for name in names}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def attention(self) -> dict:
        """How attention is computed, as far as it is said; it is no part of the model that is saved."""
        return {"attn_implementation": self.attn_implementation} if self.attn_implementation else {}


@dataclass
class DataArguments:
    dataset: list[str] = field(
        default_factory=lambda: ["refcoco"],
        metadata={
            "help": "Name of the data set, several names, or as JSON {name: weight}, or {name: {weight, image_root, "
            "label_root, split_by}} where sets lie apart."
        },
    )
    image_root: str = field(default="image_data", metadata={"help": "Folder of the images."})
    label_root: str = field(default="mask_data", metadata={"help": "Folder of the labels."})
    split_by: str | None = field(default=None, metadata={"help": "Who split the set, as unc, umd or google."})
    train_split: str = field(default="train", metadata={"help": "The split to train on."})
    validation_split: str = field(
        default="val", metadata={"help": "The split to evaluate during training, which tells the best model."}
    )
    eval_splits: list[str] = field(default_factory=lambda: ["val"], metadata={"help": "The splits to evaluate."})
    choose_thresholds: str | None = field(
        default=None,
        metadata={
            "help": "With targets any, the split by which the processor's box_threshold and presence_threshold are "
            "chosen before the others are evaluated."
        },
    )
    augmentation: bool = field(
        default=False, metadata={"help": "Changes training images at random: mirroring, and as follows."}
    )
    aug_crop: bool = field(default=True, metadata={"help": "Augmentation cuts every other image to a part."})
    aug_scale: bool = field(default=True, metadata={"help": "Augmentation draws the size images are resized to."})
    aug_color: bool = field(default=True, metadata={"help": "Augmentation changes brightness, contrast, saturation."})
    aug_blur: bool = field(default=False, metadata={"help": "Augmentation blurs every other image."})
    aug_words: float = field(
        default=0.0, metadata={"help": "Share of the words of an expression that augmentation makes others."}
    )
    shuffle_buffer_size: int = field(default=1000, metadata={"help": "Rows among which the next is drawn."})
    expressions_per_image: int = field(
        default=1,
        metadata={"help": "Expressions in a batch about each image, whose own part is then computed once for them."},
    )
    max_skipped: float = field(
        default=MAX_SKIPPED,
        metadata={"help": "Share of the rows of each set that may be skipped for their defects before the run stops."},
    )
    gallery_size: int = field(default=12, metadata={"help": "Images in the gallery; 0 draws none."})

    def __post_init__(self):
        if isinstance(self.dataset, list) and len(self.dataset) == 1:
            (self.dataset,) = self.dataset
        if isinstance(self.dataset, str) and self.dataset.startswith("{"):
            self.dataset = _from_json("dataset", self.dataset)
        for name in ("max_skipped", "aug_words"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share from 0 to 1, got {getattr(self, name)}")

    @property
    def source(self) -> dict:
        """Where a split's rows come from, as `load_grounding_dataset` takes it."""
        return {"image_root": self.image_root, "label_root": self.label_root, "split_by": self.split_by}


class _Parser(HfArgumentParser):
    def error(self, message):
        """Without the list of all flags, which are hundreds."""
        raise ValueError(message)


def _from_json(argument: str, text: str):
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{argument} is no JSON ({error}): {text}") from error


def parse_recipe(argument_classes, command_line: list[str]):
    """
    Args:
        argument_classes: dataclasses to fill, as for [`transformers.HfArgumentParser`].
        command_line (`list[str]`): may start with a recipe, a `.yaml` file; the rest are flags.

    Returns:
        a tuple of the filled dataclasses.

    Raises:
        ValueError: a recipe is no mapping, names an argument that there is not, or builds on itself; the message names
            file and key. Or a flag that there is not, or a value that is none for it.
        FileNotFoundError: there is no such recipe, or not the one it builds on.
    """
    parser = _Parser(argument_classes, allow_abbrev=False)
    command_line = [_with_current_name(word) for word in command_line]
    if command_line and command_line[0].endswith((".yaml", ".yml")):
        path, *command_line = command_line
        recipe = _read_recipe(Path(path), {action.dest for action in parser._actions})
        takes_several = {action.dest for action in parser._actions if action.nargs == "+"}
        for name in takes_several.intersection(recipe):
            if not isinstance(recipe[name], list | dict):
                recipe[name] = [recipe[name]]
        parser.set_defaults(**recipe)
    *filled, unknown = parser.parse_args_into_dataclasses(args=command_line, return_remaining_strings=True)
    if unknown:
        flags = parser._option_string_actions
        words = (word + nearest(word.partition("=")[0], flags) if word.startswith("-") else word for word in unknown)
        raise ValueError(f"unknown arguments: {' '.join(words)}")
    return tuple(filled)


def _with_current_name(word: str) -> str:
    flag, *value = word.split("=", 1)
    (name,) = current_arguments({flag.removeprefix("--"): None})
    return "=".join([f"--{name}", *value]) if flag.startswith("--") else word


def nearest(name: str, known: Iterable[str], shown: Callable[[str], str] = str) -> str:
    """For a message about a name that there is not: " (did you mean ...?)" with the one most like it, or nothing."""
    like = difflib.get_close_matches(str(name), known, n=1)
    return f" (did you mean {shown(like[0])}?)" if like else ""


def _read_recipe(path: Path, known: set[str], built_on_it: tuple[Path, ...] = ()) -> dict:
    """What a recipe says, on top of what its base says; `built_on_it` are the recipes that led here."""
    if not path.is_file():
        builds = f"{built_on_it[-1]} builds on {path}, but there is no such file" if built_on_it else None
        raise FileNotFoundError(builds or f"there is no recipe {path}")
    if any(path.samefile(other) for other in built_on_it):
        circle = " -> ".join(map(str, (*built_on_it, path)))
        raise ValueError(f"recipes that build on one another in a circle: {circle}")
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(recipe, dict):
        raise ValueError(f"{path} must hold a mapping of argument names to values, got {type(recipe).__name__}")
    recipe = current_arguments({str(name): value for name, value in recipe.items()})
    known = known | {"base"}
    unknown = [f"{name}{nearest(name, known)}" for name in sorted(recipe) if name not in known]
    if unknown:
        raise ValueError(f"{path} names unknown arguments: {', '.join(unknown)}")
    if "base" not in recipe:
        return recipe
    base = recipe.pop("base")
    if not isinstance(base, str):
        raise ValueError(f"{path}: base must be the name of a recipe file, got {base!r}")
    return _merged(_read_recipe(path.parent / base, known, (*built_on_it, path)), recipe)


def _merged(below: dict, above: dict) -> dict:
    both = {
        name: _merged(below[name], value)
        for name, value in above.items()
        if isinstance(value, dict) and isinstance(below.get(name), dict) and not _is_another(value, below[name])
    }
    return below | above | both


def _is_another(above: dict, below: dict) -> bool:
    """Whether it names a kind of encoder that is not the base's, whose fields mean nothing there."""
    return any(kind in above and above[kind] != below.get(kind) for kind in ("model_type", "architecture"))
