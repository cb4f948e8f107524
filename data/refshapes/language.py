"""When a meaning fits no shape of a RefShapes scene."""

from dataclasses import replace
from typing import Any

from plvl.data.refshapes.scene import Scene
from plvl.data.scene_language import meanings
from plvl.data.scene_language.meanings import Exclusion, Single

# With no other of its kind beside it, a medium shape may pass for a small or a large one.
_PASS_FOR = {"small": ("medium",), "medium": ("small", "large"), "large": ("medium",)}


def is_about_none(meaning: Single, scene: Scene) -> bool:
    """Whether `meaning` fits no shape, not even a borderline case (`plvl.data.scene_language.meanings`).

    A medium shape passes for a small or a large one, and no size is clear enough to be excluded.
    """
    description: Any = meaning.description
    sizes = (description.size, *_PASS_FOR.get(description.size or "", ()))
    taken = (replace(meaning, description=replace(description, size=size)) for size in sizes)
    if not all(meanings.is_about_none(each, scene) for each in taken):
        return False
    excluded: Any = meaning.excluded if isinstance(meaning, Exclusion) else ()
    if any(each.description.size for each in excluded):
        # Who finds no "star that is not small" must be sure that each star is.
        return not description.group(scene)
    return True
