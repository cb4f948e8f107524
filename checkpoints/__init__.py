"""The trained checkpoints that the project carries. `--model` of the commands knows them by the names here."""

from pathlib import Path

_HERE = Path(__file__).resolve().parent
# By its name the folder of each; the first that is there is used where no model is named.
CARRIED_CHECKPOINTS = {"photos": _HERE / "plvl-small-photos", "shapes": _HERE / "plvl-tiny-refshapes"}


def default_checkpoint() -> str:
    """The name of the checkpoint that is used where none is named: photos, or shapes in a project without it."""
    return next((name for name, folder in CARRIED_CHECKPOINTS.items() if folder.is_dir()), "shapes")
