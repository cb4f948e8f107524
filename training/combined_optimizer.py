"""Optimizers that share a model's parameters between them, as one."""

from torch.optim import Optimizer


class CombinedOptimizer(Optimizer):
    """
    Several optimizers, each with parameters of its own, in the place of one: their groups one after another, a step
    of each. A schedule scales the learning rate of every group.

    Args:
        optimizers (`torch.optim.Optimizer`): by the name under which their states are saved. `defaults` are the
            last one's.
    """

    def __init__(self, **optimizers: Optimizer):
        self.optimizers = optimizers
        super().__init__(self._groups(), {})
        # Transformers' polynomial schedule looks here for the rate that it starts from.
        self.defaults = list(optimizers.values())[-1].defaults

    def _groups(self) -> list[dict]:
        return [group for optimizer in self.optimizers.values() for group in optimizer.param_groups]

    def step(self, closure=None):
        if closure is not None:
            raise ValueError("CombinedOptimizer takes no closure: it would be evaluated for each optimizer")
        for optimizer in self.optimizers.values():
            optimizer.step()

    def state_dict(self) -> dict[str, dict]:
        return {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}

    def load_state_dict(self, state_dict: dict[str, dict]):
        """
        Raises:
            ValueError: the states are of other optimizers.
        """
        if state_dict.keys() != self.optimizers.keys():
            raise ValueError(f"the states are of {', '.join(state_dict)}, not of {', '.join(self.optimizers)}")
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state_dict[name])
        # An optimizer that loads a state makes its groups anew.
        self.param_groups = self._groups()
