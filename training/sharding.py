"""Runs whose processes share out the parameters between them (FSDP): what they need, and what they cannot do."""

import os

import torch
from accelerate import DistributedType
from accelerate.utils import parse_flag_from_env
from accelerate.utils.fsdp_utils import fsdp2_prepare_model
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy


def complete_sharding(args):
    """
    Where `args` ([`PLVLTrainingArguments`]) or the launcher (`fsdp.yaml`) ask for FSDP, has it compute as without, on
    CPUs too. Without FSDP nothing changes.

    Raises:
        ValueError: the run cannot be sharded as it was asked for; the message says what can.
    """
    options = args.fsdp_plugin_args
    if options is None and not parse_flag_from_env("ACCELERATE_USE_FSDP"):
        return
    # As the launcher puts them into the environment, where the arguments leave it to that.
    options = {
        "fsdp_version": os.environ.get("FSDP_VERSION", "1"),
        "state_dict_type": os.environ.get("FSDP_STATE_DICT_TYPE", "FULL_STATE_DICT"),
        "cpu_ram_efficient_loading": parse_flag_from_env("FSDP_CPU_RAM_EFFICIENT_LOADING"),
    } | (options or {})
    if int(options["fsdp_version"]) != 2:
        raise ValueError(f"FSDP of version {options['fsdp_version']} is not supported: set fsdp_version: 2")
    if options["cpu_ram_efficient_loading"]:
        raise ValueError(
            "FSDP: accelerate cannot load a model with running means in one process for all; set "
            "fsdp_cpu_ram_efficient_loading: false"
        )
    if options["state_dict_type"] != "FULL_STATE_DICT":
        raise ValueError(
            f"FSDP with fsdp_state_dict_type={options['state_dict_type']} would leave no model to load: set "
            "FULL_STATE_DICT"
        )
    if args.muon_learning_rate is not None:
        raise ValueError(f"muon_learning_rate={args.muon_learning_rate} is for whole matrices, and FSDP cuts them up")
    # Autocast chooses the precision of each operation, as without FSDP: in bfloat16 BatchNorm's weights would not go
    # with its running means.
    args.fsdp_plugin_args = (args.fsdp_plugin_args or {}) | {"mixed_precision_policy": MixedPrecisionPolicy()}
    if args.distributed_state.distributed_type == DistributedType.MULTI_CPU:
        if torch.accelerator.is_available():
            raise ValueError("FSDP takes the accelerator that is here, not use_cpu: hide it (CUDA_VISIBLE_DEVICES=)")
        # Of processes on CPUs accelerate leaves each the whole model, without a word. Of this kind it makes FSDP, and
        # the device stays the CPU.
        args.distributed_state.distributed_type = DistributedType.MULTI_GPU


def share_out_model(trainer):
    """For an evaluation what training does at its start, where it has not begun; without FSDP nothing."""
    if trainer.is_fsdp_enabled and not isinstance(trainer.model, FSDPModule):
        trainer.model = trainer.model_wrapped = fsdp2_prepare_model(trainer.accelerator, trainer.model)
