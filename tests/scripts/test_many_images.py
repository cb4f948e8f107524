"""The same expressions about many images: a few at once, in threads, in order, and nothing kept."""

import gc
import itertools
import json
import threading
import weakref

import pytest
import torch
from PIL import Image

from plvl.processing.pipeline_plvl import VisualGroundingPipeline
from plvl.scripts import many_images
from plvl.scripts.many_images import ImageAnswerer, shared_cores, told_in_order
from plvl.scripts.ordered_threads import in_threads
from plvl.scripts.predict import _progress_bar
from plvl.scripts.program import imports_without_pauses
from plvl.scripts.told_answers import AnswerTeller, Place, Told

EXPRESSIONS = ["the red square", "the man in the red shirt", "a cup", "the left one", "the blue moon on the right"]


@pytest.fixture
def two_cores():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def images(image):
    """Of different sizes, no two alike."""
    return [image.rotate(50 * number).resize((30 + 7 * number, 60 - 5 * number)) for number in range(7)]


@pytest.fixture
def places(images, tmp_path):
    files = [tmp_path / f"{number}.png" for number in range(len(images))]
    for image, file in zip(images, files, strict=True):
        image.save(file)
    return [Place(file, None, {}) for file in files]


def lively(model, processor):
    """The model with weights of which answers about one image are not those about another."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return VisualGroundingPipeline(model=model, processor=processor, device="cpu")


def assert_same(answers, expected):
    for answer, other in itertools.zip_longest(answers, expected):
        assert answer.keys() == other.keys() and answer["label"] == other["label"]
        assert answer.get("box") == other.get("box") and answer.get("boxes") == other.get("boxes")
        assert answer["mask"].size == other["mask"].size and answer["mask"].tobytes() == other["mask"].tobytes()
        for name in ("score", "present", "scores"):
            assert answer.get(name) == (
                other[name] and pytest.approx(other[name], abs=1e-5) if name in other else None
            )


@pytest.mark.parametrize(
    ("kind", "thresholds"), [("model", {}), ("any_model", {"box_threshold": 0.0, "presence_threshold": 0.0})]
)
@pytest.mark.parametrize("number", [1, 2, 5])
def test_images_together_are_answered_as_each_alone(kind, thresholds, number, images, processor, request):
    model = request.getfixturevalue(kind)
    pipe = lively(model, processor)
    expected = [pipe(image, EXPRESSIONS[:number], **thresholds) for image in images]
    assert len({json.dumps(answers[0].get("box") or answers[0]["boxes"]) for answers in expected}) > 3
    found = ImageAnswerer(model, processor, EXPRESSIONS[:number], thresholds)(images)
    assert len(found) == len(images)
    for answers, others in zip(found, expected, strict=True):
        assert_same(answers, others)


def test_more_expressions_than_are_answered_at_once_keep_their_images_and_their_order(images, model, processor):
    expressions = [f"{expression} {number}" for number in range(4) for expression in EXPRESSIONS]
    pipe = lively(model, processor)
    asked, forward = [], model.forward
    model.forward = lambda **inputs: asked.append(len(inputs["text_embeds"])) or forward(**inputs)
    found = ImageAnswerer(model, processor, expressions, {})(images[:2])
    assert asked == [32, 8]  # two images with 16 expressions, then with the 4 left
    for image, answers in zip(images, found, strict=False):
        assert_same(answers, pipe(image, expressions))


def test_thresholds_are_those_that_were_asked_for(images, any_model, processor):
    asked = (ImageAnswerer(any_model, processor, EXPRESSIONS[:1], {"box_threshold": bar}) for bar in (0.0, 1.0))
    every, none = (answerer(images[:1])[0][0] for answerer in asked)
    assert every["boxes"] and not none["boxes"]


@pytest.mark.parametrize(("number", "at_once"), [(1, 2), (2, 1), (5, 1)])
def test_few_expressions_are_asked_about_several_images_at_once(number, at_once, model, processor):
    assert ImageAnswerer(model, processor, EXPRESSIONS[:number], {}).images_at_once == at_once


class Asked:
    """In the place of a network: answers with the size of the image, and remembers which threads asked."""

    images_at_once = 2

    def __init__(self):
        self.threads, self.both = set(), threading.Barrier(2)

    def __call__(self, images):
        if len(self.threads) < 2:
            self.threads.add(threading.get_ident())
            self.both.wait(timeout=30)  # two batches at the same time, or none gets on
        return [[image.size] for image in images]


class Sizes:
    def unreadable(self, place, error):
        return Told([], [str(error)], is_used=False)

    def tell(self, place, image, answers):
        assert answers == [image.size]
        return Told([f"{place.source.stem} {image.width}"], [], is_used=True)


def test_threads_share_the_images_and_their_order_is_that_given(places, images, two_cores):
    answerer = Asked()
    told = list(told_in_order(places, answerer, Sizes(), several=True))
    assert [each.out for _, each in told] == [[f"{n} {image.width}"] for n, image in enumerate(images)]
    assert [place for place, _ in told] == places
    assert len(answerer.threads) == 2


def test_an_image_among_several_that_cannot_be_read_leaves_the_others_their_own_answers(places, images, two_cores):
    for number in (0, 3, 4, 5):  # of a batch the first, the second, and all
        places[number].source.write_bytes(b"no image")
    told = list(told_in_order(places, Asked(), Sizes(), several=True))
    assert [number for number, (_, each) in enumerate(told) if not each.is_used] == [0, 3, 4, 5]
    assert [each.out for _, each in told if each.is_used] == [[f"{n} {images[n].width}"] for n in (1, 2, 6)]
    assert "3.png is no image that can be read" in told[3][1].err[0]
    with pytest.raises(ValueError, match=r"0\.png is no image"):
        list(told_in_order(places[:1], Asked(), Sizes(), several=False))


@pytest.fixture
def quick_collections():
    """The garbage collector looks at what is made from now on alone, and not at every object of the libraries."""
    gc.freeze()
    yield
    gc.unfreeze()


def test_images_are_read_as_answers_are_taken_and_none_is_kept(places, two_cores, quick_collections, monkeypatch):
    read, alive = [], []

    def read_and_remember(source):
        image = Image.open(source).convert("RGB")
        read.append(weakref.ref(image))
        return image

    monkeypatch.setattr(many_images, "read_named_image", read_and_remember)
    for taken, _ in enumerate(told_in_order(places * 20, Asked(), Sizes(), several=True), 1):
        gc.collect()
        alive.append(sum(image() is not None for image in read))
        # Of batches of two images one is told, and five are begun or wait.
        assert len(read) <= taken + 2 * 6
    assert taken == len(read) == 140
    assert max(alive) <= 2 * 2


def test_what_nobody_waits_for_is_not_begun():
    begun, before = [], set(threading.enumerate())
    results = in_threads(lambda item: begun.append(item) or 2 * item, itertools.count(), 2)
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    workers = set(threading.enumerate()) - before
    assert 1 <= len(workers) <= 2
    results.close()
    for worker in workers:
        worker.join(60)
    assert max(begun) < 3 + 5 and not any(worker.is_alive() for worker in workers)


def test_an_error_in_a_thread_is_raised_where_its_result_is_taken():
    results = in_threads(lambda item: 1 // item, [1, 1, 0, 1], 2)
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize(
    ("cores", "num_batches", "num_threads", "cores_of_each"),
    [(2, 9, 2, 1), (2, 1, 1, 2), (1, 9, 1, 1), (16, 9, 4, 4), (6, 5, 4, 1), (2, 0, 1, 2)],
)
def test_batches_share_the_cores(cores, num_batches, num_threads, cores_of_each, monkeypatch):
    set_to = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    with pytest.raises(OSError), shared_cores(num_batches) as number:
        assert (number, set_to) == (num_threads, [cores_of_each])
        raise OSError
    assert set_to[1:] == [cores]


def test_progress_is_shown_of_several_images_on_a_terminal_alone(monkeypatch):
    assert _progress_bar(3, several=True).disable
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with _progress_bar(3, several=True) as shown, _progress_bar(1, several=False) as alone:
        assert not shown.disable and shown.total == 3
        assert alone.disable


def test_nothing_is_collected_around_imports_and_again_after_them():
    with pytest.raises(ImportError), imports_without_pauses():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()


def test_drawings_are_those_of_the_answers_whatever_their_format(image, tmp_path):
    answers = [{"label": "the red square", "score": 0.5, "box": {"xmin": 3, "ymin": 2, "xmax": 30, "ymax": 20}}]
    for name in ("drawn.png", "drawn.jpg"):
        told = AnswerTeller(False, None, 0.5).tell(Place("x.png", tmp_path / name, {}), image, answers)
        assert told.out[-1] == f"drawn: {tmp_path / name}"
        assert Image.open(tmp_path / name).width == 480
