"""What a model of any number of targets answers, in words."""

import numpy as np


def answer_in_words(answer: dict, presence_threshold: float) -> str:
    """
    "2 found (0.88 sure)" or "not found (0.93 sure)"; of a model without boxes, "found (0.88 sure)".

    Args:
        answer (`dict`): of the pipeline or `post_process_grounding`: `"present"` (0..1) and, as far as there are,
            `"boxes"` and `"mask"`, on the CPU. Without boxes it is found where its mask has a pixel.
        presence_threshold (`float`): that it was answered with. Where the model says that something is there, and
            places nothing, this is said, too.
    """
    present = answer["present"]
    number = len(answer["boxes"]) if "boxes" in answer else int(np.any(np.asarray(answer["mask"])))
    if number:
        return f"{number} found ({present:.2f} sure)" if "boxes" in answer else f"found ({present:.2f} sure)"
    if present >= presence_threshold:
        return f"not placed, though maybe there (probability {present:.2f})"
    return f"not found ({1 - present:.2f} sure)"
