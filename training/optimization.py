"""What is trained, and how fast: the network's parts, their learning rates, weight decay and schedule."""

from collections import defaultdict

import torch

# The arguments of each encoder; the rest of the network is trained at `learning_rate` and is never frozen.
LEARNING_RATES = {"text_encoder": "text_learning_rate", "vision_encoder": "vision_learning_rate"}
FREEZES = {"text_encoder": "freeze_text_encoder", "vision_encoder": "freeze_vision_encoder"}


def part_of(parameter_name: str) -> str | None:
    """
    The encoder that a parameter belongs to, None for the rest. What wraps a model (torch.compile, DDP, peft) puts
    words before its parameters' names, so the encoder's may stand anywhere.
    """
    return next((part for part in parameter_name.split(".") if part in LEARNING_RATES), None)


def parts_of(model: torch.nn.Module) -> dict[str, str | None]:
    """
    `part_of` each parameter by its name. Where the vision encoder has a backbone, that is what was pretrained, and the
    blocks after it are part of the rest.
    """
    names = [name for name, _ in model.named_parameters()]
    has_backbone = any("backbone" in name.split(".") for name in names)
    parts = {name: part_of(name) for name in names}
    if has_backbone:
        for name, part in parts.items():
            if part == "vision_encoder" and "backbone" not in name.split("."):
                parts[name] = None
    return parts


def unread_parameters(backbone: torch.nn.Module, num_channels: int, image_size: int) -> list[torch.nn.Parameter]:
    """What a backbone has beside its last feature map: later stages, tokens of pre-training. It gets no gradient."""
    first = next(backbone.parameters())
    image = first.new_zeros(1, num_channels, image_size, image_size)
    mode = backbone.training
    with torch.enable_grad():
        features = backbone.eval()(image).feature_maps[-1]
    backbone.train(mode)
    trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(features.float().sum(), trained, allow_unused=True) if trained else ()
    return [parameter for parameter, gradient in zip(trained, gradients, strict=True) if gradient is None]


def freeze_encoders(model: torch.nn.Module, args):
    """
    Leaves the encoders that `args` names as they are, but for what lets language into the vision encoder; and what
    never gets a gradient, for which processes would wait in vain.
    """
    for embeddings in (each for each in model.modules() if getattr(each, "backbone", None) is not None):
        vision_config = model.config.vision_config
        for parameter in unread_parameters(embeddings.backbone, vision_config.num_channels, vision_config.image_size):
            parameter.requires_grad_(False)
    parts = parts_of(model)
    for name, parameter in model.named_parameters():
        part = parts[name]
        if part and getattr(args, FREEZES[part]) and "text_guidance" not in name.split("."):
            parameter.requires_grad_(False)


def parameter_groups(model: torch.nn.Module, args, decayed: set[str], leave_out=()) -> list[dict]:
    """
    Text encoder, vision encoder and the rest, each with its learning rate, with and without weight decay.

    Args:
        model: whose trained parameters are grouped.
        args ([`PLVLTrainingArguments`]): has the rates and `weight_decay`.
        decayed (`set[str]`): names of the parameters that decay.
        leave_out: parameters that another optimizer has.
    """
    left_out = {id(parameter) for parameter in leave_out}
    groups = defaultdict(list)
    parts = parts_of(model)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in left_out:
            rate = getattr(args, LEARNING_RATES.get(parts[name] or "", "learning_rate"))
            groups[rate, name in decayed].append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": args.weight_decay if decays else 0.0}
        for (rate, decays), parameters in groups.items()
    ]


def linear_weights(model: torch.nn.Module) -> list[torch.Tensor]:
    """The weights of all linear layers that are trained: the matrices of the blocks; the head has convolutions."""
    linear_layers = (module for module in model.modules() if isinstance(module, torch.nn.Linear))
    return [layer.weight for layer in linear_layers if layer.weight.requires_grad]


def muon_of(model: torch.nn.Module, matrices: list[torch.Tensor], args) -> torch.optim.Muon:
    """Muon for `matrices` of a model, at rates that move them about as far as AdamW would: an encoder's rate is to
    `muon_learning_rate` as its own is to `learning_rate`."""
    parts = parts_of(model)
    part_by_id = {id(parameter): parts[name] for name, parameter in model.named_parameters()}
    groups = defaultdict(list)
    for matrix in matrices:
        rate = getattr(args, LEARNING_RATES.get(part_by_id[id(matrix)] or "", "learning_rate"))
        groups[args.muon_learning_rate * (rate / args.learning_rate)].append(matrix)
    return torch.optim.Muon(
        [{"params": weights, "lr": rate} for rate, weights in groups.items()],
        lr=args.muon_learning_rate,
        weight_decay=args.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )


def epoch_factor(step: int, steps_per_epoch: int, epochs: int, power: float) -> float:
    """The paper's schedule: what the learning rates are multiplied by at a step, (1 - epoch / epochs) ** power."""
    return max(1 - (step // steps_per_epoch) / epochs, 0.0) ** power
