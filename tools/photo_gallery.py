"""What a checkpoint answers about the free photographs, drawn: docs/photographs.jpg.

python tools/photo_gallery.py --model checkpoints/plvl-small-photos --output docs/photographs.jpg

Boxes in green are the truth (examples/photographs/free.jsonl), those in red the answer; wrong answers say so.
"""

from transformers import AutoModel, AutoProcessor

from photos_bundle import PHOTOGRAPHS
from plvl.data.loading import load_grounding_dataset
from plvl.scripts.program import ArgumentParser, run_as_program
from plvl.training.gallery import draw_gallery


def main(argv=None):
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of a checkpoint")
    parser.add_argument(
        "--output", default="docs/photographs.jpg", help="image to write (default: docs/photographs.jpg)"
    )
    arguments = parser.parse_args(argv)
    model = AutoModel.from_pretrained(arguments.model)
    processor = AutoProcessor.from_pretrained(arguments.model)
    rows = list(load_grounding_dataset("jsonl", "free", image_root=PHOTOGRAPHS, label_root=PHOTOGRAPHS))
    draw_gallery(model, processor, rows, columns=5).convert("RGB").save(arguments.output, quality=85)
    about_nothing = sum(not row["boxes"] for row in rows)
    print(f"{arguments.output}: {len(rows)} expressions, {about_nothing} about nothing")


if __name__ == "__main__":
    run_as_program(main)
