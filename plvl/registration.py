"""Makes Transformers' Auto classes know PLVL, without importing Transformers before its user does.

Importing Transformers' Auto classes takes seconds. So `register_auto_classes` registers at once only what
is already imported, and leaves the rest to a hook that runs when one of the modules is imported later.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys


def _register_config():
    from transformers import AutoConfig

    from plvl.configuration import PLVLConfig

    AutoConfig.register(PLVLConfig.model_type, PLVLConfig)


def _register_model():
    from transformers import AutoModel

    from plvl.configuration import PLVLConfig
    from plvl.modeling_plvl import PLVLModel

    AutoModel.register(PLVLConfig, PLVLModel)


def _register_image_processors():
    from transformers import AutoImageProcessor

    from plvl.configuration import PLVLConfig
    from plvl.processing import PLVLImageProcessor, PLVLImageProcessorPil

    backends = {"torchvision": PLVLImageProcessor, "pil": PLVLImageProcessorPil}
    AutoImageProcessor.register(PLVLConfig, image_processor_classes=backends)


def _register_processor():
    from transformers import AutoProcessor

    from plvl.configuration import PLVLConfig
    from plvl.processing import PLVLProcessor

    AutoProcessor.register(PLVLConfig, PLVLProcessor)


_AUTO = "transformers.models.auto"
_PENDING = {
    f"{_AUTO}.configuration_auto": _register_config,
    f"{_AUTO}.modeling_auto": _register_model,
    f"{_AUTO}.image_processing_auto": _register_image_processors,
    f"{_AUTO}.processing_auto": _register_processor,
}
# Modules that our classes build on: nothing is registered while one of these is half imported.
_FOUNDATIONS = (
    "transformers.modeling_utils",
    "transformers.processing_utils",
    "transformers.configuration_utils",
)


def _register_imported():
    watched = [sys.modules.get(name) for name in (*_PENDING, *_FOUNDATIONS)]
    if any(module is not None and module.__spec__._initializing for module in watched):
        return
    # Registering imports more of Transformers, which calls this function again: take each entry out first.
    for name in [name for name in _PENDING if name in sys.modules]:
        register = _PENDING.pop(name, None)
        if register is not None:
            register()


class _AfterImport(importlib.abc.MetaPathFinder):
    """Finds nothing itself; has `_register_imported` called after each watched module was executed."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in _PENDING and fullname not in _FOUNDATIONS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                module.__spec__._initializing = False
                _register_imported()

            spec.loader.exec_module = exec_module
        return spec


def register_auto_classes():
    """Registers PLVL with AutoConfig, AutoModel, AutoImageProcessor and AutoProcessor, now or when imported."""
    sys.meta_path.insert(0, _AfterImport())
    _register_imported()
