"""What people call the objects of a class: a YAML file of words, COCO's 80 classes by default.

    classes:
      person:
        words: [person|people, human]      said of every object of the class; the plural behind "|" if irregular
        kinds: [man|men, girl]             said of some: of one object alone, and where there is none
      umbrella:
        words: [umbrella]
        with: [with, holding]              how a person who carries it stands to it ("the girl with the umbrella")
      horse: {words: [horse], "on": ["on", riding]}
      cup: {words: [cup], like: [bowl]}    where bowls are seen, nobody says that there is no cup
      stop sign: {words: [stop sign], loose: [sign]}    other things are called so, too: nobody says that there is none
    groups:
      animal: {words: [animal], classes: [horse, dog], like: [teddy bear]}    where that is seen, "animal" is not said

A class that the file does not have is called by its name ("traffic_light": "traffic light").
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from plvl.data.source_files import check_entry
from plvl.processing.expression_words import swap_sides

COCO_WORDS = Path(__file__).parent / "coco_words.yaml"
PERSON = "person"
_OF_A_CLASS = ("words", "loose", "kinds", "with", "on", "like")
_OF_A_GROUP = ("words", "classes", "like")


@dataclass(frozen=True)
class Noun:
    """A word for an object and for several."""

    one: str
    many: str

    @classmethod
    def of(cls, text: str) -> "Noun":
        """Of "person|people", or of "dog", whose plural is regular."""
        one, _, many = text.partition("|")
        return cls(one, many or regular_plural(one))


@dataclass(frozen=True)
class Words:
    """
    What a class, or a group of classes, is called.

    Attributes:
        words: fit each of its objects, the usual one first.
        kinds: fit some of them.
        links: by relation, "with" and "on", what is said between a person and such an object.
        like: names of classes that one may call so, too.
        loose: those of `words` that one may call things of no class, too.
        classes: names of the classes, those of a group, else the one.
    """

    name: str
    words: tuple[Noun, ...]
    kinds: tuple[Noun, ...] = ()
    links: dict[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    like: frozenset[str] = frozenset()
    loose: frozenset[Noun] = frozenset()
    classes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ClassWords:
    """The words of every class: `of(name)`, and `groups_of(name)`, the groups that a class belongs to."""

    classes: dict[str, Words]
    groups: tuple[Words, ...]

    def of(self, name: str) -> Words:
        """Of a class that has no words it is its name, in lower case and without underscores."""
        return self.classes.get(name) or Words(name, (Noun.of(_spoken(name)),), classes=frozenset([name]))

    def groups_of(self, name: str) -> list[Words]:
        return [group for group in self.groups if name in group.classes]


def regular_plural(word: str) -> str:
    """ "dogs", "buses", "cherries" """
    if re.search(r"(s|x|z|ch|sh)$", word):
        return f"{word}es"
    if re.search(r"[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return f"{word}s"


def read_class_words(file: str | Path = COCO_WORDS) -> ClassWords:
    """
    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not of the form above, or a word names a side, which mirroring an image would change.
    """
    return _read_class_words(str(file), Path(file).stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _read_class_words(file, _time):
    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: no YAML ({error})") from error
    check_entry(content, {"classes": dict}, file)
    content.setdefault("groups", {})
    check_entry(content, {"groups": dict}, file)
    classes, groups = (
        {name: _words_of(name, said, keys, f"{file}, {name}") for name, said in content[part].items()}
        for part, keys in (("classes", _OF_A_CLASS), ("groups", _OF_A_GROUP))
    )
    for name, group in groups.items():
        if not group.classes:
            raise ValueError(f"{file}, {name}: a group has 'classes'")
    return ClassWords(classes, tuple(groups.values()))


def _words_of(name: Any, said: Any, keys: tuple[str, ...], where: str) -> Words:
    said = {} if said is None else said
    check_entry({"name": name, "words": said}, {"name": str, "words": dict}, where)
    unknown: list[Any] = [key for key in said if key not in keys]
    # YAML reads a bare `on` as True.
    if unknown:
        hint = ' (write "on" in quotes)' if True in unknown else ""
        raise ValueError(f"{where}: {unknown[0]!r} is none of {', '.join(keys)}{hint}")
    check_entry(said, dict.fromkeys(said, list), where)
    for key, values in said.items():
        wrong = [value for value in values if not isinstance(value, str) or not value.split("|")[0].strip()]
        if wrong:
            hint = ' (write "on" in quotes)' if wrong[0] is True else ""
            raise ValueError(f"{where}: {key!r} has {wrong[0]!r}, which is no text{hint}")
        sided = [value for value in values if swap_sides(value) != value]
        if sided and key not in ("like", "classes"):
            raise ValueError(
                f"{where}: {key!r} has {sided[0]!r}, which names a side: a mirrored image would change it"
            )
    loose = tuple(map(Noun.of, said.get("loose", ())))
    return Words(
        name=name,
        words=(*map(Noun.of, said.get("words") or [_spoken(name)]), *loose),
        kinds=tuple(map(Noun.of, said.get("kinds", ()))),
        links={relation: tuple(said[relation]) for relation in ("with", "on") if said.get(relation)},
        like=frozenset(said.get("like", ())),
        loose=frozenset(loose),
        classes=frozenset([name] if "classes" not in keys else said.get("classes", ())),
    )


def _spoken(name):
    return " ".join(name.lower().replace("_", " ").split())
