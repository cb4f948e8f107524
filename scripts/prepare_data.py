"""Writes grounding sets as Parquet shards with the images inside.

    plvl data prepare refcoco --splits train val --root data --output refcoco_parquet

The result streams with load_grounding_dataset("parquet", "train", label_root="refcoco_parquet"), and from the
Hub after `hf upload user/refcoco refcoco_parquet --repo-type dataset` with label_root="user/refcoco". Run
again after an interruption, it goes on behind the last whole shard; on a finished folder it checks the shards
against the checksums of the manifest.
"""

import argparse
import sys

from plvl.scripts.data_arguments import add_max_skipped, add_place, add_split_by, place
from plvl.scripts.output_place import output_named, require_writable_folder
from plvl.scripts.program import ArgumentParser, run_as_program


def add_arguments(parser: argparse.ArgumentParser):
    parser.add_argument("name", nargs="+", metavar="NAME", help="one or more names of datasets, see docs/data.md")
    parser.add_argument("--splits", "--split", nargs="+", required=True, metavar="SPLIT", help="one or more splits")
    add_place(parser)
    parser.add_argument("--output", required=True, help="folder to write to")
    add_split_by(parser)
    parser.add_argument("--shard_megabytes", type=float, default=256, help="size of a shard, about (default: 256)")
    add_max_skipped(parser)


def run(arguments):
    require_writable_folder(arguments.output)
    # Not at the top: --help and a misspelt flag need not wait for PyTorch.
    from plvl.data.detection import count_kinds
    from plvl.data.loading import set_sizes, unopened_rows
    from plvl.data.parquet import write_parquet
    from plvl.data.sample_validation import SampleValidator
    from plvl.data.source_files import content_digest

    image_root, label_root = place(arguments)
    name = arguments.name[0] if len(arguments.name) == 1 else arguments.name
    for split in arguments.splits:
        rows, sources = unopened_rows(name, split, image_root, label_root, arguments.split_by)
        origin = {
            "name": name,
            "split": split,
            "split_by": arguments.split_by,
            "sizes": set_sizes(sources),
            "labels": {one: content_digest(source.label_files) for one, source in sources.items()},
        }
        check = SampleValidator(origin["sizes"], arguments.max_skipped)
        with output_named(arguments.output):
            manifest = write_parquet(rows, check, arguments.output, split, origin, arguments.shard_megabytes)
        written = sum(shard["rows"] for shard in manifest["shards"])
        megabytes = sum(shard["bytes"] for shard in manifest["shards"]) / 2**20
        shards = len(manifest["shards"])
        print(f"{split}: {written} rows in {shards} shards, {megabytes:.1f} MiB, in {arguments.output}")
        if check.skipped:
            print(f"{split}: skipped {check.skipped}")
        if "detection" in sources:
            hold_back = sources["detection"].where["hold_back"]
            counts = count_kinds(split, label_root, hold_back=hold_back)
            print(f"{split}: of {counts['silent_images']} of {counts['images']} images nothing is said")
        for one, form in check.box_forms.items():
            if form.looks_like_corners:
                print(f"{one} {split}: {form.warning()}", file=sys.stderr)


def main(argv=None):
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    run(parser.parse_args(argv))


if __name__ == "__main__":
    run_as_program(main)
