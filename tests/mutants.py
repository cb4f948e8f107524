"""
Breaks the product at random places, one at a time, and says which breaks no test notices (`make mutants`).

Each mutant is made in a copy of the checkout and never here. The tests of a file are those that mirror it, those that
name it, and then the others of its room; the first failure ends them. What changes no behaviour is listed with its
reason in equivalent_mutants.txt beside this file: the file, the line as it is, the line as it is broken, the reason.
"""

import argparse
import ast
import configparser
import contextlib
import itertools
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("modeling_plvl", "processing", "data", "training")
HEAVY = ["torch", "torchvision.transforms.v2", "transformers", "timm", "datasets", "evaluate", "pytest", "hypothesis"]

OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
TWINS = [
    ("min", "max"), ("minimum", "maximum"), ("amin", "amax"), ("any", "all"), ("floor", "ceil"), ("sum", "mean"),
    ("height", "width"), ("rows", "columns"), ("left", "right"), ("top", "bottom"), ("zeros", "ones"),
]  # fmt: skip
TWIN = {**dict(TWINS), **{second: first for first, second in TWINS}}


@dataclass(frozen=True)
class Mutant:
    """`text` in place of what stands in `source` from `start` to `end`."""

    path: str
    start: int
    end: int
    text: str
    source: str

    @property
    def broken(self) -> str:
        return self.source[: self.start] + self.text + self.source[self.end :]

    @property
    def lines(self) -> tuple[int, str, str]:
        """Number of the first changed line, what stood there, and what stands there now."""
        before, after = self.source.splitlines(), self.broken.splitlines()
        number = next(i for i, (a, b) in enumerate(itertools.zip_longest(before, after)) if a != b)
        kept = next(i for i, (a, b) in enumerate(itertools.zip_longest(before[::-1], after[::-1])) if a != b)
        old, new = before[number : len(before) - kept], after[number : len(after) - kept]
        return number + 1, " ".join(map(str.strip, old)), " ".join(map(str.strip, new))


def changed(node: ast.AST, **fields) -> ast.AST:
    return type(node)(**(vars(node) | fields))


def variants(node: ast.AST):
    """What may stand in the node's place."""
    match node:
        case ast.BinOp(op=op) | ast.AugAssign(op=op) | ast.BoolOp(op=op) if type(op) in OPERATORS:
            yield changed(node, op=OPERATORS[type(op)]())
        case ast.Compare(ops=[op]) if type(op) in OPERATORS:
            yield changed(node, ops=[OPERATORS[type(op)]()])
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.IfExp():
            yield changed(node, body=node.orelse, orelse=node.body)
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
            yield ast.Constant(value - 1 if isinstance(value, int) else value / 2)
        case ast.Constant(value=str(value)):
            yield ast.Constant(value + "x")
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in TWIN and isinstance(node.ctx, ast.Load):
            yield changed(node, **{"id" if isinstance(node, ast.Name) else "attr": TWIN[name]})
        case ast.Slice():
            yield changed(node, lower=None)
            yield changed(node, upper=None)
        case ast.Tuple(elts=[first, second, *rest], ctx=ast.Load()):
            yield changed(node, elts=[second, first, *rest])
    match node:  # beside what stands above
        case ast.Call(args=args, keywords=keywords):
            # The axes of a transpose have no order.
            if len(args) > 1 and "transpose" not in ast.unparse(node.func):
                yield changed(node, args=[args[1], args[0], *args[2:]])
            for index in (i for i, keyword in enumerate(keywords) if keyword.arg != "strict"):
                yield changed(node, keywords=keywords[:index] + keywords[index + 1 :])
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break():
            yield ast.Pass()
        case ast.If() | ast.While():
            yield changed(node, test=ast.UnaryOp(ast.Not(), node.test))


def mutable_nodes(node: ast.AST):
    """Leaves out what says nothing about behaviour: annotations, documentation, imports, messages of errors."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.JoinedStr() | ast.Expr(value=ast.Constant()):
            return
        case ast.Raise():
            yield node
            return
        case ast.keyword(arg="strict"):  # of zip: said where it cannot matter
            return
    if hasattr(node, "end_lineno"):
        yield node
    skipped = [getattr(node, name, None) for name in ("annotation", "returns")] + getattr(node, "decorator_list", [])
    for child in ast.iter_child_nodes(node):
        if child not in skipped:
            yield from mutable_nodes(child)


def mutants_of(path: str) -> list[Mutant]:
    source = (ROOT / path).read_text(encoding="utf-8")
    starts, found = [0, *itertools.accumulate(map(len, source.splitlines(keepends=True)))], []
    for node in mutable_nodes(ast.parse(source)):
        for variant in variants(node):
            # Of an `if` only the condition is replaced.
            old, new = (node.test, variant.test) if isinstance(node, ast.If | ast.While) else (node, variant)
            text = ast.unparse(ast.fix_missing_locations(new))
            # An expression keeps its place among the operators around it.
            text = f"({text})" if isinstance(new, ast.BinOp | ast.BoolOp | ast.Compare | ast.IfExp) else text
            start, end = (
                starts[line - 1] + len(source.splitlines()[line - 1].encode()[:column].decode())
                for line, column in ((old.lineno, old.col_offset), (old.end_lineno, old.end_col_offset))
            )
            mutant = Mutant(path, start, end, text, source)
            with contextlib.suppress(SyntaxError):  # such as a generator without its parentheses
                same = ast.dump(ast.parse(mutant.broken)) == ast.dump(ast.parse(source))
                found += [] if same else [mutant]
    return found


def tests_of(path: str, left_out: list[str]) -> list[str]:
    room, stem = Path(path).parts[0], Path(path).stem
    files = [file for file in sorted((ROOT / "tests" / room).rglob("test_*.py")) if file.stem not in left_out]
    mirrored = [file for file in files if file.stem.startswith(f"test_{stem}")]
    naming = [file for file in files if stem in file.read_text(encoding="utf-8")]
    return [str(file.relative_to(ROOT)) for file in dict.fromkeys([*mirrored, *naming, *files])]


def copy_of_the_checkout(folder: Path):
    """The files that git knows or would, with an environment whose `plvl` is the copy."""
    listed = subprocess.check_output(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, text=True)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / "checkout" / name)
    packages = folder / "packages"
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    (folder / "home").mkdir()
    for line in settings["options"]["package_dir"].strip().splitlines():
        package, place = (part.strip() for part in line.split("="))
        target = packages.joinpath(*package.split("."))
        target.mkdir(parents=True, exist_ok=True)
        for entry in (folder / "checkout" / place).iterdir():
            if (
                not (target / entry.name).exists()
                and f"{place}/{entry.name}" not in settings["options"]["package_dir"]
            ):
                (target / entry.name).symlink_to(entry)
    subprocess.check_call([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")])
    (site,) = (folder / "venv/lib").glob("python*/site-packages")
    installed = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "copy.pth").write_text(f"{packages}\nimport site; site.addsitedir({installed!r})\n", encoding="utf-8")


def run_tests(folder: str, tests: list[str]):
    """In a process of its own."""
    os.setsid()
    os.chdir(f"{folder}/checkout")
    sys.path[:] = [f"{folder}/packages", *(path for path in sys.path if path != str(Path(__file__).parent))]
    with open(f"{folder}/output.txt", "w") as output:
        os.dup2(output.fileno(), 1), os.dup2(output.fileno(), 2)
    import pytest

    os._exit(pytest.main(["-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--durations=0", *tests]))


def outcome(context, folder: Path, tests: list[str], limit: float) -> tuple[str, float]:
    """ "passed", "failed" or "too long", and seconds."""
    start = time.monotonic()
    process = context.Process(target=run_tests, args=(str(folder), tests))
    process.start()
    process.join(limit)
    ended = process.exitcode
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # with what a test may have started
    process.join()
    return "too long" if ended is None else "failed" if ended else "passed", time.monotonic() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="files or folders to break; all rooms that tests must hold, if none")
    for name, default in (("--number", 40), ("--seed", 0)):
        parser.add_argument(name, type=int, default=default)
    parser.add_argument("--without", nargs="*", default=[], help="tests to leave out, such as test_onnx_plvl")
    parser.add_argument("--limit", type=float, default=600, help="seconds for the tests of one mutant")
    options = parser.parse_args()
    places = map(ROOT.joinpath, options.files or ROOMS)
    files = [file for place in places for file in ([place] if place.is_file() else sorted(place.rglob("*.py")))]
    mutants = [mutant for file in files for mutant in mutants_of(str(file.relative_to(ROOT)))]
    listed = (Path(__file__).parent / "equivalent_mutants.txt").read_text(encoding="utf-8").split("\n\n")
    equivalent = {tuple(entry.strip().splitlines()[:3]) for entry in listed}
    mutants = [mutant for mutant in mutants if (mutant.path, *mutant.lines[1:]) not in equivalent]
    chosen = random.Random(options.seed).sample(mutants, min(options.number, len(mutants)))
    print(f"{len(chosen)} of {len(mutants)} mutants of {len(files)} files", flush=True)

    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    os.environ.setdefault("PLVL_SHARED", str(ROOT.parent / "shared"))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    survivors = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_of_the_checkout(folder)
        os.environ |= {"HOME": f"{folder}/home", "TMPDIR": f"{folder}/home"}
        context.set_executable(str(folder / "venv/bin/python"))
        for tests in dict.fromkeys(tuple(sorted(tests_of(mutant.path, options.without))) for mutant in chosen):
            word, seconds = outcome(context, folder, list(tests), options.limit)
            print(f"unbroken: {word} after {seconds:.0f} s", flush=True)
            if word != "passed":
                raise SystemExit((folder / "output.txt").read_text(encoding="utf-8")[-4000:])
        for mutant in chosen:
            place, (number, before, after) = folder / "checkout" / mutant.path, mutant.lines
            place.write_text(mutant.broken, encoding="utf-8")
            word, seconds = outcome(context, folder, tests_of(mutant.path, options.without), options.limit)
            place.write_text(mutant.source, encoding="utf-8")
            word = {"passed": "SURVIVED", "failed": "noticed"}.get(word, word)
            survivors += word == "SURVIVED"
            print(f"{word} {seconds:.0f} s: {mutant.path}:{number}\n  - {before}\n  + {after}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} noticed")


if __name__ == "__main__":
    main()
