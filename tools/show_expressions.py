"""What is said about the images of detection labels: examples, how many of each kind, and how fast they are made.

python tools/show_expressions.py --label_root LABELS --split val --expressions "{per_image: 24, classes: words.yaml}"

No image is opened. The time is CPU time of this one process.
"""

import time
from collections import Counter
from itertools import islice

import yaml

from plvl.data.detection import count_kinds, open_split
from plvl.data.row_streams import rows_of_shards
from plvl.data.scene_language.meanings import ALL_KINDS
from plvl.scripts.program import ArgumentParser, run_as_program


def main(argv=None):
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--label_root", required=True, help="folder of instances_<split>.json")
    parser.add_argument("--split", default="train", help="the split (default: train)")
    parser.add_argument("--expressions", type=yaml.safe_load, help="options as a recipe has them, in YAML")
    parser.add_argument("--number", type=int, default=40, help="expressions that are shown (default: 40)")
    arguments = parser.parse_args(argv)

    # Images stay closed, so any folder will do.
    source = open_split(
        "detection", arguments.split, arguments.label_root, arguments.label_root, arguments.expressions
    )
    for row in islice(rows_of_shards(**source.reading), arguments.number):
        print(f"{row['file_name']:<30} {len(row['boxes']):>3}  {row['text']}")

    start = time.process_time()
    rows = sum(1 for _ in rows_of_shards(**source.reading))
    seconds = time.process_time() - start

    counts = Counter(count_kinds(arguments.split, arguments.label_root, arguments.expressions))
    print("\n" + "".join(f"{kind:<12}{counts[kind]:>9,}\n" for kind in ALL_KINDS))
    print(f"{rows:,} expressions about {counts['images']:,} images; of {counts['silent_images']:,} nothing is said")
    print(f"{rows / max(seconds, 1e-9):,.0f} rows a second")


if __name__ == "__main__":
    run_as_program(main)
