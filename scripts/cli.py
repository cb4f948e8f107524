"""The console command `plvl`: a subcommand for each thing a person does.

plvl predict IMAGE "EXPRESSION"
plvl demo
plvl ground IMAGES --output DIR
plvl data get NAME --root DIR
plvl data check NAME --root DIR
plvl finetune --images DIR --labels FILE --output DIR
"""

from importlib.metadata import version

from plvl.scripts import data_sets, demo, finetune, ground_images, predict
from plvl.scripts.program import ArgumentParser

# name: module with `add_arguments(parser)` and `run(arguments)`, whose docstring's first line says what it does.
COMMANDS = {"predict": predict, "demo": demo, "ground": ground_images, "data": data_sets, "finetune": finetune}


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
        COMMANDS[arguments.command].run(arguments)


if __name__ == "__main__":
    main()
