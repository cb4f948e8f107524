"""What is named as a folder or on the Hub is looked at before anything is loaded."""

from types import SimpleNamespace

import pytest

from plvl.scripts.hub_names import require_folder_or_hub_name


def test_a_folder_and_what_the_hub_has_are_taken(local_hub, tmp_path):
    require_folder_or_hub_name("--model", str(tmp_path))
    local_hub.repositories["lab/tiny"] = SimpleNamespace(name="lab/tiny", files={"config.json": b"{}"})
    require_folder_or_hub_name("--model", "lab/tiny")
    with pytest.raises(
        ValueError, match=r"^--model lab/tiny: there is no such folder, and the Hub does not give its a\.json \(404"
    ):
        require_folder_or_hub_name("--model", "lab/tiny", "a.json")


def test_what_cannot_be_a_name_on_the_hub_is_no_folder():
    with pytest.raises(ValueError, match=r"^--text outputs/bert/base: there is no such folder$"):
        require_folder_or_hub_name("--text", "outputs/bert/base")


def test_a_hub_that_cannot_be_reached_is_named(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", "http://no-such-host.invalid/{repo_id}/{filename}"
    )
    with pytest.raises(ValueError, match=r"^--text lab/bert: there is no such folder, and http.* cannot be reached"):
        require_folder_or_hub_name("--text", "lab/bert")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="cannot be reached .*offline"):
        require_folder_or_hub_name("--text", "lab/bert")
