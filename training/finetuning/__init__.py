"""Fine-tuning on a few images of one's own: what they are, what is trained of the model and for how long."""
