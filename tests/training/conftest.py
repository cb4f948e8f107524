import pytest

from plvl.data.refshapes import write_refshapes


@pytest.fixture(scope="session")
def refshapes(tmp_path_factory):
    """`image_root` and `label_root` of 18 images."""
    folder = tmp_path_factory.mktemp("refshapes")
    write_refshapes(folder, num_images=18, seed=5)
    return {"image_root": folder / "images", "label_root": folder / "labels"}
