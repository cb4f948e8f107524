"""A trained model as a kit for machines without PyTorch: two graphs, tokenizer, preprocessing, runner."""
