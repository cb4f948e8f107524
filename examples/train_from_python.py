"""Trains on a grounding data set: python examples/train_from_python.py refcoco image_data mask_data outputs/mine

The model starts from the carried checkpoint; name the folder of converted encoders (docs/checkpoints.md) in its place
to train as the paper does. On several GPUs: accelerate launch examples/train_from_python.py ...
"""

import sys

from transformers import AutoModel, AutoProcessor

from plvl import PLVLTrainer, PLVLTrainingArguments, load_grounding_dataset
from plvl.data.training_rows import load_training_rows
from plvl.processing.augmentation import training_augmentation

dataset, image_root, label_root, output_dir = sys.argv[1:5]
max_steps = int(sys.argv[5]) if len(sys.argv) > 5 else 1000
start = "checkpoints/plvl-tiny-refshapes"
model, processor = AutoModel.from_pretrained(start, dtype="float32"), AutoProcessor.from_pretrained(start)
trainer = PLVLTrainer(
    model=model,
    args=PLVLTrainingArguments(
        output_dir=output_dir,
        max_steps=max_steps,
        per_device_train_batch_size=8,
        learning_rate=1e-4,
        eval_strategy="steps",
        eval_steps=max_steps,
        report_to="none",
    ),
    processing_class=processor,
    train_dataset=load_training_rows(dataset, "train", image_root=image_root, label_root=label_root),
    eval_dataset=load_grounding_dataset(dataset, "val", image_root=image_root, label_root=label_root),
    augmentation=training_augmentation(dict(processor.image_processor.size)),
)
trainer.train()
trainer.save_model()
print({name: round(value, 3) for name, value in trainer.evaluate().items()})
