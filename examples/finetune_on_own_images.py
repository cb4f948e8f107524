"""Teaches the carried checkpoint one's own images.

python examples/finetune_on_own_images.py mine/images mine outputs/mine

`mine/train.jsonl` and `mine/val.jsonl` have a line for each expression:
{"file_name": "shelf/0001.png", "text": "the blue mug", "bbox": [12, 40, 55, 61]}   (x, y, w, h in pixels)
"""

import subprocess
import sys

images, labels, output_dir, *more = sys.argv[1:]
command = ["accelerate", "launch", "scripts/run_grounding.py", "--dataset", "jsonl", "--image_root", images]
command += ["--label_root", labels, "--model_name_or_path", "checkpoints/plvl-tiny-refshapes"]
command += ["--do_train", "true", "--do_eval", "true", "--eval_splits", "val", "--augmentation", "true"]
command += ["--num_train_epochs", "20", "--learning_rate", "1e-4", "--per_device_train_batch_size", "8"]
# The model that is best on val is kept, and the end of the run is not all one has.
command += ["--eval_strategy", "epoch", "--report_to", "none", "--output_dir", output_dir, *more]
sys.exit(subprocess.call(command))
