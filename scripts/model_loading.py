"""A trained model, its processor and its configuration from a folder or the Hub: whole, or an error that says what is
wrong. Commands use the model that was named, or one of the checkpoints that the project carries."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from safetensors import SafetensorError
from transformers.utils import logging

from plvl.checkpoints import CARRIED_CHECKPOINTS, default_checkpoint
from plvl.checkpoints.model_files import base_model, is_adapter, require_model_files, require_network_files
from plvl.configuration import PLVLConfig
from plvl.modeling_plvl import PLVLModel
from plvl.modeling_plvl.model_card_plvl import read_metrics
from plvl.processing import PLVLProcessor
from plvl.scripts.extras import pip_install

MODEL_FILES = ["*.json", "*.safetensors", "*.txt", "examples/*"]


def chosen_folder(name: str | None) -> Path:
    """
    The folder of the model `name`: a folder, a checkpoint that the project carries (`shapes`, `photos`), or a name on
    the Hub, from where its files come into the Hub's cache. A folder of a carried checkpoint's name goes before it.
    Without a name it is a carried checkpoint's. stderr says both.

    Raises:
        ValueError: there is no such model, or the checkpoint is not carried here.
    """
    if name is None:
        default = default_checkpoint()
        folder = _carried_folder(default)
        print(f"no --model named: using the carried checkpoint {default} ({folder})", file=sys.stderr)
        return folder
    if name in CARRIED_CHECKPOINTS and not Path(name).is_dir():
        return _carried_folder(name)
    if name in CARRIED_CHECKPOINTS:
        print(
            f"--model {name}: using the folder {Path(name).resolve()}, which goes before the carried checkpoint "
            f"of this name ({CARRIED_CHECKPOINTS[name]})",
            file=sys.stderr,
        )
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


def _carried_folder(name: str) -> Path:
    folder = CARRIED_CHECKPOINTS[name]
    if not folder.is_dir():
        raise ValueError(f"the carried checkpoint {name} is not there ({folder}): name another model with --model")
    return folder


def knows_drawn_shapes_alone(folder: Path) -> bool:
    """
    Whether a model was measured on RefShapes and on nothing else.

    Raises:
        ValueError: its metrics.json is none; the message names it.
    """
    return {name.rpartition("/")[0] for name in read_metrics(folder) or {}} == {"refshapes"}


def load_chosen_model(folder: Path, device: str | None = None, **options) -> tuple[PLVLModel, PLVLProcessor]:
    """
    The model in float32 and its processor; `options` are `from_pretrained`'s. Of a model that was measured on
    RefShapes alone, stderr says what it knows.

    Args:
        device: where the model goes, by default the accelerator where there is one.

    Raises:
        ValueError: there is no such device, or the folder holds no whole PLVL model.
    """
    place = chosen_device(device)
    logging.disable_progress_bar()
    model, processor = load_whole(folder, dtype=torch.float32, **options)
    if knows_drawn_shapes_alone(folder):
        print("this model has learned drawn shapes of the set RefShapes, no photographs", file=sys.stderr)
    return model.to(place).eval(), processor


def chosen_device(name: str | None) -> torch.device:
    """
    The device of a name (cpu, cuda, cuda:1, mps), or without one the accelerator, or the CPU where there is none.

    Raises:
        ValueError: there is no such device here.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    cpu = torch.device("cpu")
    if name is None:
        return accelerator or cpu
    there = [cpu]
    if accelerator:
        numbered = [torch.device(accelerator.type, number) for number in range(torch.accelerator.device_count())]
        there += [torch.device(accelerator.type), *numbered]
    if name not in map(str, there):
        raise ValueError(f"--device {name}: there is no such device here, only {', '.join(map(str, there))}")
    return torch.device(name)


def load_whole(folder: Path, dtype: str | torch.dtype = "auto", **options) -> tuple[PLVLModel, PLVLProcessor]:
    """
    Args:
        folder: of a PLVL model with its processor.
        dtype: of the weights; by default the one they are stored in.
        options: for `from_pretrained` of the model.

    Returns:
        the model, every tensor of it read from the folder, and its processor.

    Raises:
        ValueError: a part is missing, is no PLVL model, or cannot be loaded whole. The message names folder and part.
    """
    require_model_files(folder)
    model = load_whole_network(folder, dtype, **options)
    try:
        processor = PLVLProcessor.from_pretrained(folder)
    # Each kind of damage in its files fails with an exception of its own.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{folder} is no whole model: its processor does not load ({reason})") from error
    return model, processor


def load_whole_network(folder: Path, dtype: str | torch.dtype = "auto", **options) -> PLVLModel:
    """As [`load_whole`], without the processor, which need not be there."""
    require_network_files(folder)
    if is_adapter(folder):
        require_base_model(folder)
    else:
        load_plvl_config(folder)  # for its errors
    try:
        loaded: Any = PLVLModel.from_pretrained(folder, dtype=dtype, output_loading_info=True, **options)
    except ImportError as error:
        raise ValueError(f"{folder} cannot be loaded here: {error}") from error
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{folder} is no whole model: its weights do not load ({error})") from None
    model, info = loaded
    half_loaded = sorted({*info["missing_keys"], *info["unexpected_keys"]})
    if half_loaded:
        raise ValueError(f"{folder} is no whole model: missing or left over in its weights: {', '.join(half_loaded)}")
    return model


def require_base_model(folder: Path):
    """
    Raises ValueError where the network is not there that the additions in a folder belong to, or not the package that
    adds them.
    """
    base = base_model(folder)
    if find_spec("peft") is None:
        raise ValueError(f"{folder} has additions to {base}, which are loaded with peft: {pip_install('finetune')}")
    if Path(base).is_absolute():
        if not Path(base).is_dir():
            raise ValueError(
                f"{folder} has additions to the model {base}, which is not there: its adapter_config.json names it"
            )
        require_network_files(Path(base))
        load_plvl_config(base)  # for its errors


def base_folder(folder: Path) -> Path:
    """
    The folder of the network that the additions in a folder belong to.

    Raises:
        ValueError: as `require_base_model`, or the Hub does not give it.
    """
    require_base_model(folder)
    return chosen_folder(base_model(folder))


def load_plvl_config(folder_or_file) -> PLVLConfig:
    """
    The configuration of a PLVL model, from its folder, its config.json or its name on the Hub.

    Raises:
        ValueError: it is of another model, or holds a wrong value; the message is one line.
        OSError: there is none, or it is no JSON.
    """
    try:
        content, _ = PLVLConfig.get_config_dict(folder_or_file)
        model_type = content.get("model_type")
        config = PLVLConfig.from_dict(content) if model_type == PLVLConfig.model_type else None
    except OSError:
        raise
    except ImportError as error:
        raise ValueError(f"{folder_or_file} cannot be loaded here: {error}") from error
    # Each kind of wrong value fails with an exception of its own.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{folder_or_file}: no configuration of PLVL ({reason})") from error
    if config is None:
        raise ValueError(f"{folder_or_file} holds a model of the type {model_type!r}, not PLVL")
    return config
