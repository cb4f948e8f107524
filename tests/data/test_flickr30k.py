import pytest
from PIL import Image

from plvl.data import load_grounding_dataset


def box(name, *corners):
    names = "".join(f"<name>{one}</name>" for one in name.split())
    sides = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    corners = "".join(f"<{side}>{place}</{side}>" for side, place in sides)
    return f"<object>{names}<bndbox>{corners}</bndbox></object>"


ANNOTATION = (
    "<annotation><filename>1001.jpg</filename><size><width>40</width><height>30</height><depth>3</depth></size>"
    + box("21", 2, 3, 10, 12)
    + box("21 22", 8, 1, 20, 9)
    + "<object><name>23</name><scene>1</scene><nobndbox>0</nobndbox></object>"
    + "<object><name>24</name><nobndbox>1</nobndbox></object></annotation>"
)
SENTENCES = """[/EN#21/people Two young , White males] are outside near [/EN#23/scene many bushes] .
[/EN#22/people/other A man] in [/EN#24/clothing green] holds [/EN#0/notvisual it] , [/EN#21/people both] .
"""


@pytest.fixture
def entities(tmp_path):
    labels, images = tmp_path / "labels/flickr30k", tmp_path / "images/flickr30k"
    for folder in (labels / "Sentences", labels / "Annotations", images):
        folder.mkdir(parents=True)
    for number in (1001, 1002):
        Image.new("RGB", (40, 30)).save(images / f"{number}.jpg")
        (labels / f"Annotations/{number}.xml").write_text(ANNOTATION)
        (labels / f"Sentences/{number}.txt").write_text(SENTENCES)
    (labels / "train.txt").write_text("1001\n")
    (labels / "val.txt").write_text("1002\n")
    return {"image_root": tmp_path / "images", "label_root": tmp_path / "labels"}


def test_a_row_is_a_phrase_with_the_box_around_its_entity(entities):
    rows = list(load_grounding_dataset("flickr30k", "train", **entities))
    assert [(row["text"], *row["boxes"]) for row in rows] == [
        ("Two young , White males", [2.0, 1.0, 18.0, 11.0]),
        ("A man", [8.0, 1.0, 12.0, 8.0]),
        ("both", [2.0, 1.0, 18.0, 11.0]),
    ]
    assert [row["ref_id"] for row in rows] == [21, 22, 21]
    assert len({row["sent_id"] for row in rows}) == 3
    assert {row["segmentation"] for row in rows} == {None}
    assert {row["image_id"] for row in rows} == {1001}
    assert {row["category"] for row in rows} == {"people"}


def test_a_phrase_without_a_box_is_no_row(entities):
    texts = [row["text"] for row in load_grounding_dataset("flickr30k", "val", **entities)]
    assert not {"many bushes", "green", "it"} & set(texts)


def test_an_unknown_split_lists_the_splits_there_are(entities):
    with pytest.raises(ValueError, match="'test'; it has train, val"):
        load_grounding_dataset("flickr30k", "test", **entities)


@pytest.mark.parametrize("text", [ANNOTATION[:200], "<annotation></annotation>"])
def test_an_annotation_cut_in_half_is_named(entities, text):
    (entities["label_root"] / "flickr30k/Annotations/1001.xml").write_text(text)
    with pytest.raises(ValueError, match=r"1001\.xml: cut short"):
        list(load_grounding_dataset("flickr30k", "train", **entities))


@pytest.mark.parametrize("file", ["Annotations/1001.xml", "Sentences/1001.txt"])
def test_a_missing_file_of_a_listed_image_is_named(entities, file):
    (entities["label_root"] / "flickr30k" / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"{file} is missing: the split lists image 1001"):
        list(load_grounding_dataset("flickr30k", "train", **entities))


def test_the_arrow_cache_follows_sentences_and_annotations(entities):
    def cached():
        (row, *_) = load_grounding_dataset("flickr30k", "train", streaming=False, **entities)
        return row["text"], row["boxes"][0][0]

    assert cached() == ("Two young , White males", 2)
    labels = entities["label_root"] / "flickr30k"
    (labels / "Sentences/1001.txt").write_text(SENTENCES.replace("Two", "2"))
    assert cached() == ("2 young , White males", 2)
    (labels / "Annotations/1001.xml").write_text(ANNOTATION.replace("<xmin>2<", "<xmin>1<"))
    assert cached() == ("2 young , White males", 1)
