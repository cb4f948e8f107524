"""The model that a person's command uses: the one that was named, or the bundled checkpoint."""

import sys
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from transformers.utils import logging

import plvl.checkpoints
from plvl.modeling_plvl import PLVLModel
from plvl.modeling_plvl.model_card_plvl import read_metrics
from plvl.processing import PLVLProcessor
from plvl.scripts.whole_model import load_whole

MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "examples/*")


def chosen_folder(name: str | None) -> Path:
    """
    The folder of the model `name`: a folder, or a name on the Hub, from where its files come into the Hub's cache.
    Without a name it is the bundled checkpoint's, and stderr says so.

    Raises:
        ValueError: there is no such model, or no bundled checkpoint.
    """
    if name is None:
        folder = plvl.checkpoints.BUNDLED_CHECKPOINT
        if not folder.is_dir():
            raise ValueError(f"the bundled checkpoint is not there ({folder}): name a model with --model")
        print(f"no --model named: using the bundled checkpoint {folder.name} ({folder})", file=sys.stderr)
        return folder
    if Path(name).exists():
        return Path(name)
    try:
        return Path(snapshot_download(name, allow_patterns=MODEL_FILES))
    except HFValidationError:
        reason = "no such folder"
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        reason = "no such folder, and the Hugging Face Hub cannot be reached"
    except (HTTPError, OSError) as error:
        reason = f"no such folder, and the Hugging Face Hub does not give it: {str(error).splitlines()[0]}"
    raise ValueError(f"no model {name!r}: {reason}")


def load_chosen_model(folder: Path, **options) -> tuple[PLVLModel, PLVLProcessor]:
    """
    The model in float32, on the accelerator where there is one, and its processor; `options` are `from_pretrained`'s.
    Of a model that was measured on RefShapes alone, stderr says what it knows.

    Raises:
        ValueError: the folder holds no whole PLVL model.
    """
    logging.disable_progress_bar()
    model, processor = load_whole(folder, dtype=torch.float32, **options)
    sets = {name.rpartition("/")[0] for name in read_metrics(folder) or {}}
    if sets == {"refshapes"}:
        print("this model has learned drawn shapes of the set RefShapes, no photographs", file=sys.stderr)
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    return model.to(device).eval(), processor
