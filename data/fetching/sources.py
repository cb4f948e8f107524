"""Where the files of published sets are, and where they belong below a root: labels, images, downloads.

The addresses are those that the sets' authors give, or that were found where theirs had gone; the first comes first.
"""

from dataclasses import dataclass

IMAGES, LABELS, DOWNLOADS = "images", "labels", "downloads"
COCO_FOLDER = f"{IMAGES}/mscoco/images/train2014"
# train2014.zip, about: what one of its images takes is asked of the disk before they are fetched one by one.
COCO_ZIP_IMAGES, COCO_ZIP_BYTES = 82_783, 13.5e9

_REFER = "bvisionweb1.cs.unc.edu/licheng/referit/data"
_ARCHIVE = "https://web.archive.org/web"
_GENOME = "https://homes.cs.washington.edu/~ranjay/visualgenome/data/dataset"
_FLICKR = "https://raw.githubusercontent.com/BryanPlummer/flickr30k_entities/master"
_GREFCOCO = "https://huggingface.co/datasets/FudanCVL/gRefCOCO/resolve/main"


@dataclass(frozen=True)
class Source:
    """One file to fetch.

    Attributes:
        file: its name, of which the suffix says what it must hold.
        addresses: where it may be had, the first that gives it.
        folder: where it belongs below the root, or what it unpacks to.
        holds: of a zip of labels, what must be in it (files, folders, all in one): they come to lie in `folder`.
        has_images: whether it is a zip of images, which all come to lie in `folder`, by their names alone.
    """

    file: str
    addresses: tuple[str, ...]
    folder: str
    holds: tuple[str, ...] = ()
    has_images: bool = False


@dataclass(frozen=True)
class FetchableSet:
    """What a set consists of.

    Attributes:
        labels, images: the files to fetch.
        on_hub: a set of the Hub that has the same labels.
        by_hand: what cannot be fetched, and how a person gets it.
    """

    labels: tuple[Source, ...] = ()
    images: tuple[Source, ...] = ()
    on_hub: str | None = None
    by_hand: str | None = None


def _refer(name, refs, archived):
    """REFER's labels, whose server comes and goes."""
    addresses = f"https://{_REFER}/{name}.zip", f"{_ARCHIVE}/{archived}/https://{_REFER}/{name}.zip"
    return Source(f"{name}.zip", addresses, f"{LABELS}/{name}", holds=(refs, "instances.json"))


def _plain(base, folder, *files):
    return tuple(Source(file, (f"{base}/{file}",), folder) for file in files)


_COCO = Source(
    "train2014.zip", ("http://images.cocodataset.org/zips/train2014.zip",), COCO_FOLDER, has_images=True
)  # fmt: skip

SETS = {
    "refcoco": FetchableSet((_refer("refcoco", "refs(unc).p", "20220413011718"),), (_COCO,), "jxu124/refcoco"),
    "refcoco+": FetchableSet((_refer("refcoco+", "refs(unc).p", "20220413011656"),), (_COCO,), "jxu124/refcocoplus"),
    "refcocog": FetchableSet((_refer("refcocog", "refs(umd).p", "20220413012904"),), (_COCO,), "jxu124/refcocog"),
    "grefcoco": FetchableSet(_plain(_GREFCOCO, f"{LABELS}/grefcoco", "grefs(unc).json", "instances.json"), (_COCO,)),
    "coco2014": FetchableSet(images=(_COCO,)),
    "refclef": FetchableSet(
        (_refer("refclef", "refs(unc).p", "20220413011817"),),
        (
            Source(
                "saiapr_tc-12.zip",
                (
                    f"https://{_REFER}/images/saiapr_tc-12.zip",
                    f"{_ARCHIVE}/20220515000000/http://{_REFER}/images/saiapr_tc-12.zip",
                ),
                f"{IMAGES}/referit/images",
                has_images=True,
            ),
        ),
    ),
    "flickr30k": FetchableSet(
        (
            Source(
                "annotations.zip",
                (f"{_FLICKR}/annotations.zip",),
                f"{LABELS}/flickr30k",
                holds=("Sentences", "Annotations"),
            ),
            *_plain(_FLICKR, f"{LABELS}/flickr30k", "train.txt", "val.txt", "test.txt"),
        ),
        by_hand="the images of Flickr30k are given to whoever fills in the form at "
        "https://shannon.cs.illinois.edu/DenotationGraph: put them into {root}/images/flickr30k (36979.jpg, ...)",
    ),
    "visual_genome": FetchableSet(
        tuple(
            Source(f"{file}.zip", (f"{_GENOME}/{file}.zip",), f"{LABELS}/visual-genome", holds=(file,))
            for file in ("region_descriptions.json", "image_data.json")
        ),
        tuple(
            Source(
                f"{file}.zip",
                (f"https://cs.stanford.edu/people/rak248/VG_100K_2/{file}.zip",),
                f"{IMAGES}/visual-genome/{folder}",
                has_images=True,
            )
            for file, folder in (("images", "VG_100K"), ("images2", "VG_100K_2"))
        ),
    ),
}


def coco_address(file_name: str) -> str | None:
    """Where COCO's server has one image of 2014 or 2017, by its name; None for other names.

    The `coco_url` of REFER's labels (http://mscoco.org/images/<number>) is of a server that is gone.
    """
    _, _, rest = file_name.partition("COCO_")
    year = rest.partition("_")[0]
    return f"http://images.cocodataset.org/{year}/{file_name}" if year in ("train2014", "val2014") else None
