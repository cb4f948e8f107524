"""Checkpoint folders that are whole or not there at all."""

import json
import logging
import os
import re
import shutil
import zipfile
from contextlib import contextmanager
from pathlib import Path

from accelerate.utils import gather_object
from safetensors import SafetensorError, safe_open
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from plvl.training.checkpoint_manifest import MANIFEST, deviation_from_manifest, has_manifest
from plvl.training.resume_settings import RESUME_SETTINGS

logger = logging.getLogger(__name__)

# Beside the checkpoints; what stands in it was being written when a run ended.
UNFINISHED = "unfinished"
REPLACED = ".old"
_NAME = re.compile(rf"{PREFIX_CHECKPOINT_DIR}-\d+")


class CheckpointNotWrittenError(OSError):
    """A checkpoint could not be written; the message says why, and which one is the last good one."""


def last_good_checkpoint(output_dir) -> str | None:
    """
    The newest checkpoint that a run can go on from, or None. Others are named in the log and left where they are.
    """
    for folder in sorted(_checkpoints(output_dir), key=step_of, reverse=True):
        reason = what_prevents_going_on(folder)
        if reason is None:
            return str(folder)
        logger.warning("%s is passed over: %s", folder, reason)
    return None


def what_prevents_going_on(checkpoint) -> str | None:
    """Why a run cannot go on from a checkpoint, under whatever name; None if it can."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        return "there is no such folder"
    lost = None
    if has_manifest(folder):
        lost = deviation_from_manifest(folder)
    elif (folder / RESUME_SETTINGS).is_file():  # both are written at once; earlier versions wrote neither
        lost = f"{MANIFEST} is missing"
    if not lost and (folder / TRAINER_STATE_NAME).is_file() and not any(folder.glob("rng_state*")):
        return (
            "it holds a model without the state of its training (save_only_model, or files are lost). To train this "
            "model on, name it as model_name_or_path of a run with another output_dir"
        )
    defect = lost or defect_of(folder)
    return defect and f"it is no whole checkpoint: {defect}"


def defect_of(folder: Path) -> str | None:
    """What makes a checkpoint unusable that one sees without its manifest, which earlier versions did not write."""
    try:
        state = json.loads((folder / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return f"{TRAINER_STATE_NAME}: {error}"
    if not isinstance(state, dict) or not isinstance(state.get("global_step"), int):
        return f"{TRAINER_STATE_NAME} has no global_step"
    if _NAME.fullmatch(folder.name) and state.get("global_step") != step_of(folder):
        return f"{TRAINER_STATE_NAME} is of step {state.get('global_step')}"
    if not any(file.name.startswith(("model", "pytorch_model")) for file in folder.iterdir()):
        return "it has no weights"
    for file in folder.rglob("*"):
        if file.suffix in (".pt", ".pth", ".bin") and not zipfile.is_zipfile(file):
            return f"{file.name} is cut short"
        if file.suffix == ".safetensors":
            try:
                # The header says how long the file must be.
                with safe_open(file, "pt"):
                    pass
            except (SafetensorError, OSError) as error:
                return f"{file.name} is cut short: {error}"
    return None


def agreed_checkpoint(output_dir) -> str | None:
    """
    The last good checkpoint, the same for all processes.

    Raises:
        ValueError: the processes, on machines without a common disk, say, find different ones.
    """
    good = last_good_checkpoint(output_dir)
    found = gather_object([good and Path(good).name])
    if len(set(found)) > 1:
        raise ValueError(
            f"the processes find different checkpoints in {output_dir}: {found}; "
            "output_dir must be on a disk that all machines share"
        )
    return good


def best_checkpoint(output_dir: Path, state: TrainerState, best_so_far: str | None) -> str | None:
    """The folder of the best model, by the name that it has or is about to get."""
    step = state.best_global_step
    best = output_dir / f"{PREFIX_CHECKPOINT_DIR}-{step}"
    if step and (step == state.global_step or best.is_dir()):
        return str(best)
    return best_so_far


def step_of(checkpoint) -> int:
    """The step that a checkpoint's name says."""
    return int(Path(checkpoint).name.rpartition("-")[2])


def remove_unfinished(output_dir):
    """Clears away what an earlier run was writing when it ended; a good folder that waited there comes back."""
    folder = Path(output_dir) / UNFINISHED
    if folder.exists():
        _put_back_replaced(output_dir)
        logger.warning("%s is removed: an earlier run ended while it was writing there", folder)
        shutil.rmtree(folder)


@contextmanager
def explained_failure(output_dir, what: str, writes: bool):
    """
    Turns whatever ends the writing of `what` into an error that says how much room there was and what is left.

    Args:
        output_dir: where the run keeps its checkpoints.
        what (`str`): the name of what is written.
        writes (`bool`): whether this process writes it, and clears away what it did not finish. Another one may have
            failed at waiting alone.
    """
    try:
        yield
    # safetensors, torch and the system each have an exception of their own for a full disk.
    except Exception as error:
        folder = Path(output_dir).absolute()
        free = shutil.disk_usage(next(each for each in (folder, *folder.parents) if each.exists())).free
        if writes:
            _put_back_replaced(output_dir)
            shutil.rmtree(Path(output_dir) / UNFINISHED, ignore_errors=True)
        good = last_good_checkpoint(output_dir)
        raise CheckpointNotWrittenError(
            f"{what} could not be written to {output_dir} ({free / 2**20:,.0f} MiB were free): {error}. "
            f"{f'The last good checkpoint is {good}' if good else 'There is no earlier checkpoint'}; "
            "make room and start the same command again."
        ) from error


def _put_back_replaced(output_dir):
    """Gives a good folder its name again where its successor never got it."""
    for old in (Path(output_dir) / UNFINISHED).glob(f"*{REPLACED}"):
        target = Path(output_dir) / old.name.removesuffix(REPLACED)
        if not target.exists():
            old.rename(target)


def replace_folder(written: Path, target: Path):
    """Gives a written folder its name; a folder of that name goes once the new one is safe on disk."""
    for file in written.rglob("*"):
        if file.is_file():
            with open(file, "rb+") as handle:  # Windows flushes none that is open for reading alone
                os.fsync(handle.fileno())
    if target.exists():
        old = written.with_name(f"{target.name}{REPLACED}")
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
        written.rename(target)
        shutil.rmtree(old)
    else:
        written.rename(target)
    if not any(written.parent.iterdir()):
        written.parent.rmdir()


def _checkpoints(output_dir) -> list[Path]:
    folder = Path(output_dir)
    return [each for each in folder.iterdir() if _NAME.fullmatch(each.name)] if folder.is_dir() else []
