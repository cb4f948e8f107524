"""Answers about unlabelled images as Parquet shards, each written whole or not at all, by any number of processes.

    <folder>/answers-00000-of-00012.parquet, ...   the answers about one part of the input, in its order
    <folder>/_manifest.json                        what was asked, and in the end how many answers there are
    <folder>/_unfinished/                          until then: claims on shards, and shards that are being written

Arrow and `datasets` read the folder as one table: they leave out what begins with an underscore.
A shard's name says which part of the input it is about, so whoever writes it, and however often, no row is lost or
there twice. Claims only keep processes from doing the same work; the system drops them when a process ends, so that
one that waits for what another has claimed gets it if the other dies.
"""

import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow
from filelock import FileLock, Timeout
from pyarrow import parquet

MANIFEST = "_manifest.json"
LOCK = "_manifest.lock"
UNFINISHED = "_unfinished"
ANSWER_SCHEMA = pyarrow.schema(
    [
        ("row", pyarrow.int64()),  # its place in the input
        ("file_name", pyarrow.string()),
        ("expression", pyarrow.string()),
        ("width", pyarrow.int32()),
        ("height", pyarrow.int32()),
        ("boxes", pyarrow.list_(pyarrow.list_(pyarrow.float32(), 4))),  # x1, y1, x2, y2 in pixels
        ("scores", pyarrow.list_(pyarrow.float32())),
        ("present", pyarrow.float32()),  # of models of any number of targets
        ("mask", pyarrow.struct([("size", pyarrow.list_(pyarrow.int32(), 2)), ("counts", pyarrow.string())])),
        ("error", pyarrow.string()),  # why there is no answer
    ]
)
# Answers that are made into a row group together.
_GROUP_ROWS = 500
_COUNTS = b"plvl"
_TOTALS = ("rows", "answers", "errors")


class AnswersNotWrittenError(OSError):
    """A shard could not be written; the message says how much room there was and how many shards there are."""


class AnswerShards:
    """A folder of answers.

    Args:
        folder: where they go; made if need be.
        asked: plain values that say what is asked, of what, about what. A folder of other answers is refused.
        num_shards: one for each part of the input.
        described: plain values for a reader, which may be others when a run goes on.

    Raises:
        ValueError: the folder has answers to something else; the message says what differs. Or there are files in it
            and no manifest.
    """

    def __init__(self, folder: str | Path, asked: dict[str, Any], num_shards: int, described: dict[str, Any]):
        self.folder, self.num_shards = Path(folder), num_shards
        self._unfinished = self.folder / UNFINISHED
        self._unfinished.mkdir(parents=True, exist_ok=True)
        self._manifest = self.folder / MANIFEST
        asked = json.loads(json.dumps(asked | {"shards": num_shards}))
        # Of processes that start together one writes it.
        with FileLock(self.folder / LOCK):
            if self._manifest.is_file():
                self._refuse_another(asked)
                if self.missing():
                    self._note_incomplete()
            elif any(self.folder.glob("*.parquet")):
                raise ValueError(f"{folder} has Parquet files of something else (no {MANIFEST}): name another folder")
            else:
                self._write_manifest({"asked": asked, **described, "complete": False})

    def _read_manifest(self) -> dict[str, Any]:
        try:
            manifest = json.loads(self._manifest.read_text(encoding="utf-8"))
            return manifest | {"asked": dict(manifest["asked"])}
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{self._manifest} is no manifest of answers ({error}): name another folder") from error

    def _refuse_another(self, asked: dict[str, Any]) -> None:
        then = self._read_manifest()["asked"]
        differences = [
            f"{name} was {then.get(name)!r:.200} and is {asked.get(name)!r:.200}"
            for name in sorted({*then, *asked})
            if then.get(name) != asked.get(name)
        ]
        if differences:
            raise ValueError(
                f"{self.folder} has answers to something else: {'; '.join(differences)}. Ask as before, or name "
                "another folder"
            )

    def _write_manifest(self, manifest: dict[str, Any]) -> None:
        written = self.folder / f"{MANIFEST}.unfinished"
        written.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        os.replace(written, self._manifest)

    def _note_incomplete(self) -> None:
        """Of a folder that was complete once, say. The caller has the lock."""
        manifest = self._read_manifest()
        if manifest.get("complete"):
            kept = {name: value for name, value in manifest.items() if name not in _TOTALS}
            self._write_manifest(kept | {"complete": False})

    def file(self, number: int) -> Path:
        return self.folder / f"answers-{number:05d}-of-{self.num_shards:05d}.parquet"

    def missing(self) -> list[int]:
        """The numbers of the shards that are not there, in order."""
        there = {file.name for file in self.folder.glob("answers-*.parquet")}
        return [number for number in range(self.num_shards) if self.file(number).name not in there]

    @contextmanager
    def claim(self, number: int) -> Iterator[bool]:
        """Whether a shard is this process's to write: it is not there, and no other process writes it."""
        if self.file(number).is_file():
            yield False
            return
        lock = FileLock(self._unfinished / f"{number:05d}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield not self.file(number).is_file()
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()

    def write(self, number: int, answers: Iterable[dict[str, Any]]) -> None:
        r"""Writes a shard; it has its name when all of it is on disk.

        Args:
            number: the shard's.
            answers: rows of `ANSWER_SCHEMA`; what one lacks is null. They are not held: a few hundred at once. Half
                characters, of a file's name that is no UTF-8 or of JSON, are spelt out, as \udce9.

        Raises:
            AnswersNotWrittenError: the disk is full, say.
        """
        # Of this process alone, in case a file system has no locks.
        written = self._unfinished / f"{self.file(number).stem}-{socket.gethostname()}-{os.getpid()}.parquet"
        iterator, counts, last_row = iter(answers), {"rows": 0, "errors": 0}, None
        try:
            with open(written, "wb") as file:
                with parquet.ParquetWriter(file, ANSWER_SCHEMA) as writer:
                    while group := list(islice(iterator, _GROUP_ROWS)):
                        for answer in group:
                            counts["rows"] += answer["row"] != last_row
                            counts["errors"] += answer.get("error") is not None
                            last_row = answer["row"]
                        writer.write_table(_table(group))
                    writer.add_key_value_metadata({_COUNTS: json.dumps(counts)})
                file.flush()
                os.fsync(file.fileno())
            os.replace(written, self.file(number))
        # What is read has errors of other kinds.
        except OSError as error:
            free = shutil.disk_usage(self.folder).free / 2**20
            there = self.num_shards - len(self.missing())
            raise AnswersNotWrittenError(
                f"{self.file(number)} could not be written ({free:,.0f} MiB are free): {error}. {there} of "
                f"{self.num_shards} shards are there; make room and start the same command again"
            ) from error
        finally:
            written.unlink(missing_ok=True)

    def complete(self, num_rows: int) -> dict[str, int]:
        """Looks whether all shards are there and whole, and notes in the manifest that they are, or are not.

        Args:
            num_rows: rows of the input, which the shards must be about.

        Returns:
            {"rows", "answers", "errors"} of all shards.

        Raises:
            ValueError: a shard is missing or damaged, or they are about another number of rows.
        """
        with FileLock(self.folder / LOCK):
            try:
                totals = self._totals(num_rows)
            except ValueError:
                self._note_incomplete()
                raise
            self._write_manifest(self._read_manifest() | totals | {"complete": True})
        shutil.rmtree(self._unfinished, ignore_errors=True)
        return totals

    def _totals(self, num_rows: int) -> dict[str, int]:
        if missing := self.missing():
            raise ValueError(
                f"{self.folder}: {len(missing)} of {self.num_shards} shards are missing, "
                f"{self.file(missing[0]).name} among them: start the same command again"
            )
        totals = dict.fromkeys(_TOTALS, 0)
        for number in range(self.num_shards):
            try:
                metadata = parquet.read_metadata(self.file(number))
                counts = json.loads(metadata.metadata[_COUNTS])
            except (OSError, pyarrow.ArrowException, KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{self.file(number)} is damaged ({error}): remove it and start the same command again"
                ) from error
            totals["rows"] += counts["rows"]
            totals["answers"] += metadata.num_rows
            totals["errors"] += counts["errors"]
        if totals["rows"] != num_rows:
            raise ValueError(f"{self.folder} has answers about {totals['rows']} rows, and the input has {num_rows}")
        return totals


def _table(answers: list[dict[str, Any]]) -> pyarrow.Table:
    return pyarrow.Table.from_pylist(
        [{name: _spelt_out(value) for name, value in answer.items()} for answer in answers], schema=ANSWER_SCHEMA
    )


def _spelt_out(value):
    """Half characters are no text that Parquet holds."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
