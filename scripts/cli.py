"""The console command `plvl`: a subcommand for each thing a person does.

plvl predict IMAGE "EXPRESSION"
plvl demo
plvl ground IMAGES --output DIR
plvl train RECIPE
plvl evaluate RECIPE
plvl finetune --images DIR --labels FILE --output DIR
plvl data get | check | show | prepare NAME
plvl data make | colors
plvl convert --from PROGRAM CHECKPOINT --output DIR
plvl export MODEL --format FORMAT --output DIR
plvl publish --model DIR --repo NAME
"""

from importlib.metadata import version

from plvl.scripts import (
    convert_checkpoint,
    data_sets,
    demo,
    evaluate_recipe,
    export,
    finetune,
    ground_images,
    predict,
    publish,
    train_recipe,
)
from plvl.scripts.program import ArgumentParser, run_as_program

# name: module with `add_arguments(parser)` and `run(arguments)`, whose docstring's first line says what it does, and
# which imports PyTorch and Transformers when it is run: all of them are imported for the help.
COMMANDS = {
    "predict": predict,
    "demo": demo,
    "ground": ground_images,
    "train": train_recipe,
    "evaluate": evaluate_recipe,
    "finetune": finetune,
    "data": data_sets,
    "convert": convert_checkpoint,
    "export": export,
    "publish": publish,
}


def main(argv=None):
    parser = ArgumentParser(prog="plvl", description="Finds what an expression means in an image.")
    parser.add_argument("--version", action="version", version=f"plvl {version('plvl')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, module in COMMANDS.items():
        summary = module.__doc__.splitlines()[0]
        module.add_arguments(commands.add_parser(name, help=summary, description=summary))
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
    else:
        name = " ".join(["plvl", arguments.command, *filter(None, [getattr(arguments, "action", None)])])
        run_as_program(lambda: COMMANDS[arguments.command].run(arguments), name)


if __name__ == "__main__":
    main()
