"""The one form every grounding row has, whichever source it comes from.

A row is one expression about one object in one picture. As it leaves a dataset it is a plain dict:

    image         PIL image, RGB and upright, opened when the row is read
    text          the expression as the source has it
    bbox          [x, y, w, h], pixels of the picture, x and y of the upper left corner
    segmentation  {"polygons", "size", "counts"} (see plvl.data.masks), or None without a mask
    height, width size of the picture in pixels
    image_id, ref_id, sent_id   numbers of the picture, the object's reference and the expression
    category      the object's class by name, or None
    dataset, split, file_name   where the row comes from; file_name is the picture's path below the set's folder of
                  pictures (in an authors' pack below image_root)
"""

from datasets import Features, Image, List, Value

# A missing mask is None for the whole struct. Streamed rows pass through the features without Arrow and
# keep None; in Arrow and Parquet it is a null struct, which datasets 5.0 and 5.2 give back as None too.
# Inside a mask that is there, either "polygons" or the pair "size" and "counts" is filled, the rest None.
SEGMENTATION = {
    "polygons": List(List(Value("float64"))),
    "size": List(Value("int32")),
    "counts": Value("string"),
}

ROW_FEATURES = Features(
    {
        "image": Image(mode="RGB"),
        "text": Value("string"),
        "bbox": List(Value("float64"), length=4),
        "segmentation": SEGMENTATION,
        "height": Value("int32"),
        "width": Value("int32"),
        "image_id": Value("int64"),
        "ref_id": Value("int64"),
        "sent_id": Value("int64"),
        "category": Value("string"),
        "dataset": Value("string"),
        "split": Value("string"),
        "file_name": Value("string"),
    }
)
