"""Makes Transformers' Auto classes and pipelines know PLVL without importing Transformers before its user does, and
modules of PLVL known by the names that they had in earlier versions.

Each room registers its classes when it is imported, but importing a room, and Transformers' Auto classes with
it, takes seconds. So the front door leaves that to a hook that imports a room once the Auto class it serves
has been imported by someone; likewise for the pipeline.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings

_AUTO = "transformers.models.auto"
_SERVED_BY = {
    f"{_AUTO}.configuration_auto": "plvl.configuration",
    f"{_AUTO}.modeling_auto": "plvl.modeling_plvl",
    f"{_AUTO}.image_processing_auto": "plvl.processing",
    f"{_AUTO}.processing_auto": "plvl.processing",
    "transformers.pipelines": "plvl.processing.pipeline_plvl",
}
# The rooms build on these: no room is imported while one of them is half imported.
_FOUNDATIONS = {f"transformers.{name}_utils" for name in ("configuration", "modeling", "processing")}
_WATCHED = _FOUNDATIONS | set(_SERVED_BY)


def _import_rooms(executed=None):
    """`executed` is the watched module that has just been executed, which the import system still calls unfinished."""
    loaded = [sys.modules[name] for name in _WATCHED if name in sys.modules and name != executed]
    if any(getattr(module.__spec__, "_initializing", False) for module in loaded):
        return
    for module, room in _SERVED_BY.items():
        if module in sys.modules:
            importlib.import_module(room)


class _AfterImport(importlib.abc.MetaPathFinder):
    """Finds modules as usual, and has `_import_rooms` called when a watched one has been executed."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in _WATCHED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                _import_rooms(executed=fullname)

            spec.loader.exec_module = exec_module
        return spec


class _EarlierNames(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module of today under a name of plvl.configuration.earlier_names, with a warning."""

    def find_spec(self, fullname, path=None, target=None):
        if not fullname.startswith("plvl."):
            return None
        from plvl.configuration.earlier_names import MODULES

        return importlib.machinery.ModuleSpec(fullname, self) if fullname in MODULES else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        from plvl.configuration.earlier_names import MODULES

        name, renamed = MODULES[module.__name__]
        warnings.warn(f"{module.__name__} is called {name} now", FutureWarning, stacklevel=2)
        current = importlib.import_module(name)
        public = {each: value for each, value in vars(current).items() if not each.startswith("_")}
        vars(module).update(public, **{old: getattr(current, new) for old, new in renamed.items()})


def register_auto_classes():
    """Has PLVL registered with the four Auto classes it needs and with the pipelines, now or when they are used."""
    sys.meta_path.insert(0, _AfterImport())
    sys.meta_path.append(_EarlierNames())
    _import_rooms()
