"""The recipes that the project and its wheel carry, by their names. Imports nothing that takes time."""

import difflib
from importlib.util import find_spec
from pathlib import Path

# Where it is, without importing it: that would import PyTorch.
_CONFIGURATION = Path(find_spec("plvl.configuration").origin).parent
RECIPES = _CONFIGURATION / "recipes"
ACCELERATE = _CONFIGURATION / "accelerate"
_SUFFIXES = (".yaml", ".yml")


def recipe_names() -> list[str]:
    return sorted(file.stem for file in RECIPES.glob("*.yaml"))


def with_recipe_file(words: list[str]) -> list[str]:
    """
    A command line whose first word may be a recipe, a name or a file (.yaml), with the file in the place of the name.

    Raises:
        ValueError: the first word is neither, nor a flag; the message lists the names.
    """
    if not has_recipe(words) or words[0].endswith(_SUFFIXES):
        return words
    name, *flags = words
    names = recipe_names()
    if name not in names:
        like = difflib.get_close_matches(name, names, n=1)
        nearest = f" (did you mean {like[0]}?)" if like else ""
        raise ValueError(
            f"there is no recipe {name!r}{nearest}. Recipes are {', '.join(names)}; one of your own is named by its "
            "file, as mine.yaml"
        )
    return [str(RECIPES / f"{name}.yaml"), *flags]


def has_recipe(words: list[str]) -> bool:
    return bool(words) and not words[0].startswith("-")
