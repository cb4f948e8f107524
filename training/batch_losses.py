"""The losses of a run's batches by name, and what the skipped ones among them mean for what is logged."""

import torch
from accelerate import Accelerator


class BatchLosses:
    """
    Losses since the last line of the log, and the number of batches that were skipped since the run began.

    Transformers counts a skipped batch as a loss of 0; the logged losses are means over the others.
    """

    def __init__(self):
        self.begin_run()

    def begin_run(self):
        self.skipped_in_run = 0
        self._begin_line()

    def _begin_line(self):
        self._sums: dict[str, torch.Tensor] = {}
        self._batches = self._skipped = 0

    def add(self, losses: dict[str, torch.Tensor]):
        # Kept on the device: nothing waits for the numbers before they are logged.
        for name, loss in losses.items():
            self._sums[name] = self._sums.get(name, 0) + loss
        self._batches += 1

    def skip(self):
        self._skipped += 1
        self.skipped_in_run += 1

    def complete(self, logs: dict[str, float], accelerator: Accelerator):
        """Mends `loss`, which is left out where all batches were skipped, and adds the named losses' means."""
        if self._batches:
            logs["loss"] *= 1 + self._skipped / self._batches
            means = torch.stack(list(self._sums.values())) / self._batches
            means = accelerator.gather(means[None]).mean(0)
            logs |= dict(zip(self._sums, means.tolist(), strict=True))
        elif self._skipped:
            del logs["loss"]
        self._begin_line()

    def complete_end(self, logs: dict[str, float], batches: int):
        """Mends `train_loss`, the mean over the run's `batches`, in the same way."""
        if 0 < self.skipped_in_run < batches:
            logs["train_loss"] *= batches / (batches - self.skipped_in_run)
        elif self.skipped_in_run:
            del logs["train_loss"]
