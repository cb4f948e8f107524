"""PLVL's configuration from a file that may be of another model, or wrong."""

from plvl.configuration import PLVLConfig


def load_plvl_config(folder_or_file) -> PLVLConfig:
    """
    The configuration of a PLVL model, from its folder, its config.json or its name on the Hub.

    Raises:
        ValueError: it is of another model, or holds a wrong value; the message is one line.
        OSError: there is none, or it is no JSON.
    """
    try:
        content, _ = PLVLConfig.get_config_dict(folder_or_file)
        model_type = content.get("model_type")
        config = PLVLConfig.from_dict(content) if model_type == PLVLConfig.model_type else None
    except OSError:
        raise
    # Each kind of wrong value fails with an exception of its own.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{folder_or_file}: no configuration of PLVL ({reason})") from error
    if config is None:
        raise ValueError(f"{folder_or_file} holds a model of the type {model_type!r}, not PLVL")
    return config
