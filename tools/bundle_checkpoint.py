"""Makes a checkpoint that the project carries, shapes or photos, of a trained model.

python tools/bundle_checkpoint.py shapes --model outputs/plvl-tiny-refshapes --output checkpoints/plvl-tiny-refshapes
python tools/bundle_checkpoint.py photos --model outputs/plvl-small-photos --output checkpoints/plvl-small-photos

Beside what a release has (model, processor, card) the folder has metrics.json, slice.json, which a test checks
(recorded_slice), and examples/, which the demo shows. What is each one's own is in shapes_bundle and photos_bundle.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import photos_bundle
import shapes_bundle
from plvl.modeling_plvl.model_card_plvl import model_card, read_metrics, read_settings
from plvl.scripts.atomic_directory import atomic_directory
from plvl.scripts.model_loading import load_whole
from plvl.scripts.program import ArgumentParser, run_as_program
from plvl.scripts.release_card import EXAMPLE_CAPTION, EXAMPLE_IMAGE, draw_example
from plvl.scripts.release_folder import build_release_folder
from recorded_slice import check_slice, record_slice

# By the names of plvl.checkpoints. Each has NAME, MOST_BYTES, DATASETS, bundled_metrics, write_examples and about.
BUNDLES = {"shapes": shapes_bundle, "photos": photos_bundle}
FULL = "It has {parameters:,} parameters, in single precision."
HALF = "It has {parameters:,} parameters, stored in half precision and computed in single."


class TooLargeError(ValueError):
    """The folder would be larger than the project wants to carry."""


def main(argv=None):
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", choices=BUNDLES, help="which of the carried checkpoints it is")
    parser.add_argument("--model", required=True, help="folder of the model, with its metrics.json")
    parser.add_argument("--output", required=True, help="folder to write; new or empty, unless --replace")
    parser.add_argument("--replace", action="store_true", help="put the new folder in the place of an old one")
    parser.add_argument("--half", action="store_true", help="store the weights in half precision")
    arguments = parser.parse_args(argv)
    try:
        write_bundle(
            arguments.checkpoint, Path(arguments.model), Path(arguments.output), arguments.replace, arguments.half
        )
    except (ValueError, OSError) as error:
        sys.exit(f"bundle_checkpoint: {error}")


def write_bundle(checkpoint: str, model_folder: Path, output: Path, replace: bool, half: bool):
    """Puts the folder in its place, whole; where something fails, `output` stays as it was."""
    with atomic_directory(output, replace) as folder:
        recorded = fill_bundle(checkpoint, model_folder, folder, half)
        size = check_size(checkpoint, folder)
    print(f"{output}: {size:,} bytes; on the slice of {recorded['num_samples']} expressions {recorded}")


def fill_bundle(checkpoint: str, model_folder: Path, folder: Path, half: bool) -> dict[str, float]:
    """
    Writes everything into the empty `folder`.

    Returns:
        the metrics of the slice.

    Raises:
        ValueError: the model is not whole, its metrics are missing, or half precision changes its answers.
    """
    bundle = BUNDLES[checkpoint]
    metrics = bundle.bundled_metrics(model_folder)
    build_release_folder(model_folder, folder, bundle.NAME)
    if half:
        store_in_half_precision(folder / "model.safetensors")
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    model, processor = load_whole(folder, dtype=torch.float32)
    shutil.rmtree(folder / "examples", ignore_errors=True)  # where a bundle is bundled again
    bundle.write_examples(folder / "examples", model, processor)
    recorded = record_slice(folder, model, processor)
    if half:
        check_slice(folder, *load_whole(model_folder, dtype=torch.float32))
    draw_example(folder, model, processor)
    (folder / "README.md").write_text(bundle_card(checkpoint, folder, model, half), encoding="utf-8")
    return recorded["metrics"]


def bundle_card(checkpoint: str, folder: Path, model, half: bool) -> str:
    """The card of what else is in the folder."""
    bundle, metrics = BUNDLES[checkpoint], read_metrics(folder)
    card = model_card(
        bundle.NAME,
        model.config,
        metrics,
        datasets=bundle.DATASETS,
        license="apache-2.0",
        settings=read_settings(folder),
        image=(EXAMPLE_IMAGE, EXAMPLE_CAPTION),
    )
    weights = (HALF if half else FULL).format(parameters=sum(each.numel() for each in model.parameters()))
    return f"{str(card).rstrip()}\n{bundle.about(metrics, model.config, weights)}"


def store_in_half_precision(file: Path):
    """Halves a file of weights; config.json still says float32, in which `from_pretrained` will load them."""
    tensors = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in load_file(file).items()
    }
    save_file(tensors, file, metadata={"format": "pt"})


def check_size(checkpoint: str, folder: Path) -> int:
    """The bytes of all files in a folder; TooLargeError where they are more than the project carries of it."""
    most = BUNDLES[checkpoint].MOST_BYTES
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    total = sum(sizes.values())
    if total > most:
        largest = max(sizes, key=sizes.get)
        raise TooLargeError(
            f"the checkpoint would have {total:,} bytes, {sizes[largest]:,} of them in {largest}; at most "
            f"{most:,} are carried: make the network smaller, or store it with --half"
        )
    return total


if __name__ == "__main__":
    run_as_program(main)
