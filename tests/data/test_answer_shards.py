"""Answers as shards that are written whole or not at all."""

import json
import resource
import signal

import pytest
from pyarrow import parquet

from plvl.data import answer_shards
from plvl.data.answer_shards import AnswerShards, AnswersNotWrittenError

ASKED = {"model": "0a1b", "expressions": ["the cup"]}


def open_shards(folder, num_shards=3, **changes):
    return AnswerShards(folder, ASKED | changes, num_shards, {"model_name": "mine"})


def answers(*rows, **more):
    return [{"row": row, "expression": "the cup", "scores": [0.5]} | more for row in rows]


def test_a_shard_has_its_answers_and_the_folder_reads_as_one_table(tmp_path):
    shards = open_shards(tmp_path)
    shards.write(1, answers(2, 3))
    shards.write(0, answers(0, 1))
    assert shards.missing() == [2]
    found = parquet.read_table(tmp_path).to_pylist()
    assert [answer["row"] for answer in found] == [0, 1, 2, 3]
    assert found[0]["scores"] == [0.5] and found[0]["boxes"] is None


def test_half_characters_of_any_text_are_spelt_out(tmp_path):
    shards = open_shards(tmp_path, 1)
    row = {"file_name": "caf\udce9.png", "expression": "half \ud83d", "error": "/data/caf\udce9.png: no image of 月"}
    shards.write(0, answers(0, **row))
    [found] = parquet.read_table(tmp_path).to_pylist()
    assert found["file_name"] == r"caf\udce9.png" and found["expression"] == r"half \ud83d"
    assert found["error"] == r"/data/caf\udce9.png: no image of 月"


def test_the_manifest_says_in_the_end_how_many_answers_there_are(tmp_path):
    shards = open_shards(tmp_path)
    shards.write(0, answers(0, 0, 1))
    shards.write(1, answers(2))
    with pytest.raises(ValueError, match="1 of 3 shards are missing, answers-00002-of-00003.parquet among"):
        shards.complete(4)
    assert not json.loads((tmp_path / "_manifest.json").read_text())["complete"]
    shards.write(2, answers(3, error="image missing"))
    assert shards.complete(4) == {"rows": 4, "answers": 5, "errors": 1}
    manifest = json.loads((tmp_path / "_manifest.json").read_text())
    assert manifest["complete"] and manifest["answers"] == 5 and manifest["model_name"] == "mine"
    assert not (tmp_path / "_unfinished").exists()


@pytest.mark.parametrize("at", ["opening", "end"])
def test_the_manifest_of_a_folder_that_lost_a_shard_says_so(at, tmp_path):
    shards = open_shards(tmp_path, 2)
    shards.write(0, answers(0))
    shards.write(1, answers(1))
    shards.complete(2)
    shards.file(1).unlink()
    if at == "opening":
        shards = open_shards(tmp_path, 2)
    else:
        with pytest.raises(ValueError, match="1 of 2 shards are missing"):
            shards.complete(2)
    manifest = json.loads((tmp_path / "_manifest.json").read_text())
    assert manifest["complete"] is False and "answers" not in manifest and manifest["model_name"] == "mine"
    open_shards(tmp_path, 2).write(1, answers(1))
    assert shards.complete(2)["answers"] == 2
    assert json.loads((tmp_path / "_manifest.json").read_text())["complete"] is True


def test_shards_about_another_number_of_rows_are_no_end(tmp_path):
    shards = open_shards(tmp_path, 1)
    shards.write(0, answers(0, 1))
    with pytest.raises(ValueError, match="answers about 2 rows, and the input has 3"):
        shards.complete(3)


def test_a_damaged_shard_is_named(tmp_path):
    shards = open_shards(tmp_path, 1)
    shards.file(0).write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="answers-00000-of-00001.parquet is damaged .* remove it"):
        shards.complete(3)


def test_answers_to_something_else_are_not_gone_on_with(tmp_path):
    open_shards(tmp_path)
    open_shards(tmp_path)
    with pytest.raises(ValueError, match=r"expressions was \['the cup'\] and is \['a hat'\]"):
        open_shards(tmp_path, expressions=["a hat"])
    with pytest.raises(ValueError, match="box_threshold was None and is 0.3"):
        open_shards(tmp_path, box_threshold=0.3)
    with pytest.raises(ValueError, match="shards was 3 and is 4"):
        open_shards(tmp_path, 4)
    (tmp_path / "_manifest.json").write_text("[]")
    with pytest.raises(ValueError, match="is no manifest of answers"):
        open_shards(tmp_path)


def test_a_folder_of_other_parquet_files_is_refused(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match="Parquet files of something else"):
        open_shards(tmp_path)


def test_one_process_at_a_time_has_a_shard(tmp_path):
    one, other = open_shards(tmp_path), open_shards(tmp_path)
    with one.claim(0) as mine, other.claim(0) as also, other.claim(1) as another:
        assert (mine, also, another) == (True, False, True)
    with other.claim(0) as mine:
        assert mine
        other.write(0, answers(0))
    with one.claim(0) as mine:
        assert not mine


def test_a_shard_that_another_process_has_just_written_is_not_taken(tmp_path, monkeypatch):
    shards = open_shards(tmp_path)

    class LateLock(answer_shards.FileLock):
        def acquire(self, *args, **kwargs):
            shards.write(0, answers(0))
            return super().acquire(*args, **kwargs)

    monkeypatch.setattr(answer_shards, "FileLock", LateLock)
    with shards.claim(0) as mine:
        assert not mine


def test_what_ends_in_the_middle_leaves_no_shard(tmp_path):
    def broken():
        yield from answers(0, 1)
        raise RuntimeError("broken on purpose")

    shards = open_shards(tmp_path)
    with pytest.raises(RuntimeError, match="broken on purpose"):
        shards.write(0, broken())
    assert shards.missing() == [0, 1, 2] and not list((tmp_path / "_unfinished").glob("*.parquet"))


def test_a_full_disk_is_an_error_that_says_what_is_there_and_how_it_goes_on(tmp_path):
    """No file can grow beyond a kilobyte, as on a full disk."""
    shards = open_shards(tmp_path)
    shards.write(0, answers(0, 1))
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
    try:
        with pytest.raises(AnswersNotWrittenError, match=r"00001.* MiB are free.* 1 of 3 shards are there; make room"):
            shards.write(1, answers(*range(2000), file_name="a" * 50))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert shards.missing() == [1, 2] and not list((tmp_path / "_unfinished").glob("*.parquet"))
    shards.write(1, answers(2))
    assert shards.missing() == [2]
