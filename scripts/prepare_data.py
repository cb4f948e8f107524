"""Write a grounding set as Parquet shards with the images inside.

    python scripts/prepare_data.py refcoco --split train val --image_root IMAGES --label_root LABELS \\
        --output refcoco_parquet

The result streams with load_grounding_dataset("parquet", "train", label_root="refcoco_parquet"), and from the
Hub after `hf upload user/refcoco refcoco_parquet --repo-type dataset` with label_root="user/refcoco". Run
again after an interruption, it goes on behind the last whole shard; on a finished folder it checks the shards
against the checksums of the manifest.
"""

import argparse

from plvl.data.detection import count_kinds
from plvl.data.loading import set_sizes, unopened_rows
from plvl.data.parquet import write_parquet
from plvl.data.sample_validation import MAX_SKIPPED, SampleValidator
from plvl.data.source_files import content_digest
from plvl.scripts.output_place import output_named, require_writable_folder
from plvl.scripts.program import ArgumentParser, run_as_program


def main(arguments=None):
    options = parse(arguments)
    require_writable_folder(options.output)
    name = options.name[0] if len(options.name) == 1 else options.name
    for split in options.split:
        rows, sources = unopened_rows(name, split, options.image_root, options.label_root, options.split_by)
        origin = {
            "name": name,
            "split": split,
            "split_by": options.split_by,
            "sizes": set_sizes(sources),
            "labels": {one: content_digest(source.label_files) for one, source in sources.items()},
        }
        check = SampleValidator(origin["sizes"], options.max_skipped)
        with output_named(options.output):
            manifest = write_parquet(rows, check, options.output, split, origin, options.shard_megabytes)
        written = sum(shard["rows"] for shard in manifest["shards"])
        megabytes = sum(shard["bytes"] for shard in manifest["shards"]) / 2**20
        shards = len(manifest["shards"])
        print(f"{split}: {written} rows in {shards} shards, {megabytes:.1f} MiB, in {options.output}")
        if check.skipped:
            print(f"{split}: skipped {check.skipped}")
        if "detection" in sources:
            hold_back = sources["detection"].where["hold_back"]
            counts = count_kinds(split, options.label_root, hold_back=hold_back)
            print(f"{split}: of {counts['silent_images']} of {counts['images']} images nothing is said")


def parse(arguments):
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="+", help="one or more names of datasets, see docs/data.md")
    parser.add_argument("--split", nargs="+", required=True, help="one or more splits")
    parser.add_argument("--image_root", required=True, help="folder of the images")
    parser.add_argument("--label_root", required=True, help="folder of the labels")
    parser.add_argument("--output", required=True, help="folder to write to")
    parser.add_argument("--split_by", help="who split a REFER set (unc, umd, google)")
    parser.add_argument("--shard_megabytes", type=float, default=256, help="size of a shard, about")
    parser.add_argument("--max_skipped", type=float, default=MAX_SKIPPED, help="share of bad rows to put up with")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_as_program(main)
