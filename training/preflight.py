"""What a run looks at before its first step, so that nothing starts that cannot end."""

import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
from accelerate.utils import gather_object
from huggingface_hub.utils import get_session

from plvl.training.arguments import PLVLTrainingArguments
from plvl.training.starting_model import HUB_TIMEOUT


class NotReadyError(ValueError):
    """A run cannot come to its end as it was asked for; the message lists everything that is in its way."""


class Preflight:
    """Notes what is in a run's way, so that all of it is told at once."""

    def __init__(self, args: PLVLTrainingArguments):
        self.args = args
        self.problems: list[str] = []

    def note(self, problem: str):
        # What is wrong with a folder is wrong with each of its splits.
        if problem not in self.problems:
            self.problems.append(problem)

    @contextmanager
    def noting(self, advice: str = ""):
        """Notes an error about what was given, with what to do about it; others are not for the user to mend."""
        try:
            yield
        except (ValueError, OSError) as error:
            self.note(f"{error}{advice if isinstance(error, FileNotFoundError) else ''}")

    def output_dir(self):
        """That the folder of the run can be written to."""
        folder = Path(self.args.output_dir)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except FileExistsError:
            self.note(f"output_dir: {folder} is a file; name another folder")
        except OSError as error:
            self.note(f"output_dir: {folder} cannot be written to ({error.strerror}); name another folder")

    def hub(self):
        """That the Hub can be reached where the run pushes to it."""
        if not self.args.push_to_hub:
            return
        instead = "run without push_to_hub and publish the model afterwards (scripts/publish.py)"
        if not (self.args.hub_token or huggingface_hub.get_token()):
            self.note(f"push_to_hub: nobody is logged in; `hf auth login`, or {instead}")
            return
        try:
            get_session().head(huggingface_hub.constants.ENDPOINT, timeout=HUB_TIMEOUT)
        # Each way of not reaching the Hub has an exception of its own.
        except Exception as error:
            self.note(f"push_to_hub: {huggingface_hub.constants.ENDPOINT} cannot be reached ({error}); {instead}")

    def disk(self, model):
        """That there is room for a checkpoint and the model at the end, where the run trains."""
        args = self.args
        if not args.do_train:
            return
        weights = sum(each.nbytes for each in model.state_dict().values())
        trained = sum(each.nbytes for each in model.parameters() if each.requires_grad)
        needed = weights
        if args.save_strategy != "no":
            # AdamW keeps two numbers for each weight.
            needed += weights + (0 if args.save_only_model else 2 * trained)
        free = shutil.disk_usage(args.output_dir).free
        if free < needed:
            self.note(
                f"output_dir: {free / 2**20:,.0f} MiB are free in {args.output_dir}, and a checkpoint and the model "
                f"at the end take {needed / 2**20:,.0f}; make room, or name a folder on another disk"
            )

    def end(self):
        """
        Raises:
            NotReadyError: something was noted, in any process.
        """
        problems = list(dict.fromkeys(gather_object(self.problems)))
        if not problems:
            return
        if self.args.process_index:
            # The first process says it for all, and a launcher ends that one as soon as another has ended.
            time.sleep(1)
            sys.exit(1)
        if len(problems) == 1:
            raise NotReadyError(problems[0])
        raise NotReadyError("".join(["the run cannot start:", *(f"\n- {problem}" for problem in problems)]))
