"""What a person names as a folder or as a repository of the Hub, looked at before anything is loaded."""

from pathlib import Path

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError, HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

SECONDS = 5  # that an answer of the Hub may take; a download would try again and again, for half a minute


def require_folder_or_hub_name(option: str, name: str, file: str = "config.json"):
    """
    Args:
        option: what names it.
        name: a folder, a file of one, or a repository of the Hub.
        file: what a repository of the Hub must hold.

    Raises:
        ValueError: there is no such folder, and the Hub does not give the file within seconds; the message says why.
    """
    if Path(name).exists():
        return
    nothing = f"{option} {name}: there is no such folder"
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise ValueError(nothing) from None
    if isinstance(try_to_load_from_cache(name, file), str):
        return
    try:
        get_hf_file_metadata(hf_hub_url(name, file), timeout=SECONDS)
    except (HTTPError, OfflineModeIsEnabled) as error:
        if getattr(error, "response", None) is not None:
            why = f"the Hub does not give its {file} ({str(error).splitlines()[0]})"
        else:
            why = f"{constants.ENDPOINT} cannot be reached ({str(error).splitlines()[0]})"
        raise ValueError(f"{nothing}, and {why}") from error
