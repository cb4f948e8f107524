"""The console command `plvl`: a subcommand for each thing a person does with a trained model.

plvl predict PICTURE "EXPRESSION"
plvl demo
"""

import argparse

from plvl.scripts import demo, predict

# name: module with `add_arguments(parser)` and `run(arguments)`, whose docstring's first line says what it does.
COMMANDS = {"predict": predict, "demo": demo}


def main(argv=None):
    parser = argparse.ArgumentParser(prog="plvl", description="Finds what an expression means in a picture.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        summary = module.__doc__.splitlines()[0]
        module.add_arguments(commands.add_parser(name, help=summary, description=summary))
    arguments = parser.parse_args(argv)
    COMMANDS[arguments.command].run(arguments)


if __name__ == "__main__":
    main()
