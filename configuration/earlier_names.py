"""How earlier versions called what users' files name: such names keep working, and this is the one list of them."""

# Keys of recipes and of what is stored beside checkpoints, and flags.
ARGUMENTS = {"expressions_per_picture": "expressions_per_image"}

# In the examples.json beside a model.
IMAGE_OF_AN_EXAMPLE = "picture"

# What is counted of skipped rows, in the manifests of Parquet sets.
DEFECTS = {
    "annotation without an image": "annotation without a picture",
    "image missing": "picture missing",
    "image unreadable": "picture unreadable",
    "image too large": "picture too large",
    "image of another size": "picture of another size",
    "box outside the image": "box outside the picture",
}

# Modules, each with the names in it that are others now.
MODULES: dict[str, tuple[str, dict[str, str]]] = {
    "plvl.data.label_packs": (
        "plvl.data.authors_pth",
        {"PACKS": "PTH_SETS", "pack_file": "pth_file", "pack_splits": "split_names", "read_pack": "read_pth"},
    ),
    "plvl.data.picture_groups": ("plvl.data.image_groups", {"groups_of_picture": "groups_of_image"}),
    "plvl.training.feed": (
        "plvl.training.resumable_batches",
        {
            "TrainingFeed": "ResumableBatches",
            "FeedPosition": "BatchesPosition",
            "expressions_per_picture": "expressions_per_image",
        },
    ),
    "plvl.modeling_plvl.attention_in_pieces_plvl": (
        "plvl.modeling_plvl.chunked_attention_plvl",
        {"attend_in_pieces": "chunked_attention"},
    ),
    "plvl.scripts.chosen_model": ("plvl.scripts.model_loading", {}),
    "plvl.scripts.whole_model": ("plvl.scripts.model_loading", {}),
    "plvl.scripts.stored_config": ("plvl.scripts.model_loading", {}),
    "plvl.scripts.whole_folder": ("plvl.scripts.atomic_directory", {}),
    "plvl.scripts.show_data": ("plvl.scripts.visualize_augmentation", {}),
    "plvl.data.pictures": ("plvl.data.image_files", {"open_picture": "open_image", "PictureError": "ImageFileError"}),
    "plvl.data.row_rules": (
        "plvl.data.sample_validation",
        {"RowCheck": "SampleValidator", "righted_row": "sanitize_sample", "RowDefect": "SampleDefect"},
    ),
    "plvl.processing.wordpiece": ("plvl.processing.word_vocabulary", {"learn_wordpiece": "build_word_vocabulary"}),
    "plvl.training.joint_optimizer": (
        "plvl.training.combined_optimizer",
        {"JointOptimizer": "CombinedOptimizer"},
    ),
    "plvl.scripts.named_pictures": (
        "plvl.scripts.image_inputs",
        {
            "find_pictures": "find_images",
            "find_all_pictures": "find_all_images",
            "read_picture": "read_named_image",
        },
    ),
}


def current_arguments(named: dict) -> dict:
    """A mapping by arguments' names, which may be those of an earlier version, by today's."""
    return {ARGUMENTS.get(name, name): value for name, value in named.items()}
