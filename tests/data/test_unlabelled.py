"""Images without labels, divided into parts."""

import os

import pyarrow
import pytest
from pyarrow import parquet

from plvl.data.unlabelled import ImageFolder, ParquetImages

NAMES = ["b.jpg", "a/z.jpg", "a/y.PNG", "c.jpg", "a/deep/x.jpg"]


def is_image(suffix):
    return suffix.lower() in (".jpg", ".png")


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    for name in [*NAMES, "notes.txt", ".hidden.jpg", ".cache/d.jpg"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def write(file, rows, row_group_size=2, **columns):
    table = pyarrow.Table.from_pylist(rows, **columns)
    file.parent.mkdir(exist_ok=True)
    parquet.write_table(table, file, row_group_size=row_group_size)


def all_rows(source):
    return [row for part in source.parts for row in source.rows(part)]


def test_a_folder_is_its_images_with_those_below_it_in_the_order_of_their_names(images):
    source = ImageFolder(images, 2, is_image)
    rows = all_rows(source)
    assert [row.file_name for row in rows] == sorted(NAMES)
    assert [row.number for row in rows] == [0, 1, 2, 3, 4]
    assert [(part.first_row, part.num_rows) for part in source.parts] == [(0, 2), (2, 2), (4, 1)]
    assert rows[1].image == {"path": str(images / "a/y.PNG"), "bytes": None} and rows[1].expressions is None


def test_another_image_is_another_folder(images):
    before = ImageFolder(images, 2, is_image).identity
    assert ImageFolder(images, 3, is_image).identity == before
    (images / "c.jpg").rename(images / "d.jpg")
    assert ImageFolder(images, 2, is_image).identity != before


def test_a_file_name_that_is_no_unicode_is_read_and_spelt_out(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.jpg")).write_bytes(b"")
    [row] = all_rows(ImageFolder(tmp_path, 2, is_image))
    assert row.file_name == "\udcff.jpg" and os.path.exists(row.image["path"])


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no images in the folder"):
        ImageFolder(tmp_path, 2, is_image)


def test_rows_of_parquet_files_follow_one_another_and_no_row_group_is_divided(tmp_path):
    rows = [{"image": f"{number}.jpg".encode(), "text": f"the {number}"} for number in range(12)]
    write(tmp_path / "set/b.parquet", rows[7:])
    write(tmp_path / "set/a.parquet", rows[:7])
    source = ParquetImages(tmp_path / "set", 3)
    assert [(part.first_row, part.num_rows) for part in source.parts] == [(0, 4), (4, 3), (7, 4), (11, 1)]
    assert [part.num_rows for part in ParquetImages(tmp_path / "set", 4).parts] == [4, 3, 4, 1]
    found = all_rows(source)
    assert [row.number for row in found] == list(range(12))
    assert [row.image for row in found] == [{"path": None, "bytes": row["image"]} for row in rows]
    assert [row.expressions for row in found] == [[row["text"]] for row in rows]
    assert source.identity["rows"] == 12 and source.identity["files"] == 2


def test_an_image_is_a_struct_or_bytes_or_a_path_beside_its_file(tmp_path):
    file = tmp_path / "set/a.parquet"
    write(file, [{"image": {"bytes": b"1", "path": "one.jpg"}, "text": "it"}])
    [row] = all_rows(ParquetImages(file, 9))
    assert (row.image["bytes"], row.file_name) == (b"1", "one.jpg")
    write(file, [{"picture": "folder/one.jpg", "words": ["it", "that"], "file_name": "one"}])
    [row] = all_rows(ParquetImages(file, 9, "picture", "words"))
    assert row.image == {"path": str(file.parent / "folder/one.jpg"), "bytes": None}
    assert (row.file_name, row.expressions) == ("one", ["it", "that"])


def test_a_row_without_an_expression_has_one_that_is_none(tmp_path):
    schema = pyarrow.schema([("image", pyarrow.binary()), ("text", pyarrow.list_(pyarrow.string()))])
    write(tmp_path / "a.parquet", [{"image": b"1", "text": []}, {"image": b"2", "text": None}], schema=schema)
    rows = all_rows(ParquetImages(tmp_path / "a.parquet", 9))
    assert [row.expressions for row in rows] == [[None], [None]]


def test_a_column_that_is_not_there_and_a_file_that_is_no_parquet_are_named(tmp_path):
    write(tmp_path / "a.parquet", [{"image": b"1", "caption": "it"}])
    with pytest.raises(ValueError, match="a.parquet has no column 'text'; it has image, caption"):
        ParquetImages(tmp_path / "a.parquet", 9)
    assert all_rows(ParquetImages(tmp_path / "a.parquet", 9, text_column=None))[0].expressions is None
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="b.parquet: missing, cut short or no Parquet"):
        ParquetImages(tmp_path, 9, text_column="caption")
