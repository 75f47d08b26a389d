"""A folder of images per class, as arrays."""

import sys

import keras
import numpy as np
import pytest
from helpers import write_folder

from keras_davidnet.datasets import load_folder

PIL = pytest.importorskip("PIL.Image")


def draw(rng, n, height=6, width=5, channels=3):
    return rng.integers(0, 256, (n, height, width, channels), "uint8")


def load(path, image_size=(6, 5), **arguments):
    return load_folder(path, image_size, verbose=False, **arguments)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_labels_and_names(rng, tmp_path, channels):
    written = {
        "10": draw(rng, 4, channels=channels),
        "2": draw(rng, 5, channels=channels),
        "b": draw(rng, 3, channels=channels),
    }
    write_folder(tmp_path, written)
    (tmp_path / "notes.txt").write_text("of no class")
    (tmp_path / "b" / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    images, labels, names = load(tmp_path)
    assert names == ["10", "2", "b"]
    assert images.shape == (12, 6, 5, channels) and images.dtype == "uint8"
    for label, name in enumerate(names):
        expected = sorted(image.tobytes() for image in written[name])
        found = sorted(image.tobytes() for image in images[labels == label])
        assert found == expected


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="Keras reads folders by TensorFlow",
)
def test_classes_and_images_are_those_of_keras(rng, tmp_path):
    write_folder(tmp_path, {name: draw(rng, 3) for name in ("b", "a", "B")})
    (tmp_path / "a" / "within").mkdir()
    keras.utils.save_img(tmp_path / "a" / "within" / "3.BMP", draw(rng, 1)[0])
    dataset = keras.utils.image_dataset_from_directory(
        tmp_path, image_size=(6, 5), batch_size=None, verbose=False
    )
    expected = {(x.numpy().tobytes(), int(y)) for x, y in dataset}
    images, labels, names = load(tmp_path)
    assert names == dataset.class_names
    assert len(images) == len(expected) == 10
    assert expected == {
        (x.astype("float32").tobytes(), int(y))
        for x, y in zip(images, labels, strict=True)
    }


def test_the_order_is_random_and_the_same(rng, tmp_path):
    write_folder(tmp_path, {"a": draw(rng, 50), "b": draw(rng, 50)})
    images, labels, _ = load(tmp_path)
    # Five standard deviations.
    assert abs(labels[-50:].sum() - 25) < 13
    np.testing.assert_array_equal(load(tmp_path)[0], images)


def test_scaling(rng, tmp_path):
    # Twice as wide as high: what is outside of the middle is black.
    image = np.zeros((16, 32, 3), "uint8")
    image[:, 8:24] = draw(rng, 1, 16, 16)[0]
    write_folder(tmp_path, {"a": [image], "b": [image]})
    for size, box in (((8, 8), (8, 0, 24, 16)), ((8, 4), None)):
        images, *_ = load(tmp_path, size, crop_to_aspect_ratio=box is not None)
        expected = PIL.fromarray(image).resize(
            size[::-1], PIL.Resampling.BILINEAR, box
        )
        np.testing.assert_array_equal(images, [np.asarray(expected)] * 2)


def test_gray_and_color_images_need_a_mode(rng, tmp_path):
    write_folder(tmp_path, {"a": draw(rng, 2), "b": draw(rng, 2, channels=1)})
    message = "gray levels.*color_mode.*Received.*a.*b.*png"
    with pytest.raises(ValueError, match=message):
        load(tmp_path)
    images, labels, _ = load(tmp_path, color_mode="rgb")
    assert images.shape[3] == 3
    gray = images[labels == 1]
    np.testing.assert_array_equal(gray[..., 0], gray[..., 2])
    assert load(tmp_path, color_mode="grayscale")[0].shape[3] == 1


def test_broken_files_are_named(rng, tmp_path):
    images = draw(rng, 3, 60, 50)
    write_folder(tmp_path, {"a": images, "b": images})
    whole = (tmp_path / "a" / "0.png").read_bytes()
    (tmp_path / "a" / "0.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b" / "1.png").write_text("not an image")
    deep = np.full((60, 50), 60_000, "uint16")
    PIL.fromarray(deep).save(tmp_path / "b" / "2.png")
    with pytest.warns(UserWarning, match="3 of 6 files") as warned:
        images, labels, _ = load(tmp_path, (60, 50))
    for name in ("a/0.png", "b/1.png", "b/2.png (its pixels have more than 8"):
        assert name in str(warned[0].message)
    assert sorted(labels) == [0, 0, 1] and len(images) == 3
    for file in ("b/1.png", "b/2.png"):
        with pytest.raises(ValueError, match=f"cannot be read.*{file}"):
            load(tmp_path, (60, 50), skip_broken=False)
        (tmp_path / file).unlink()
    with pytest.raises(ValueError, match="cannot be read.*a/0.png"):
        load(tmp_path, (60, 50), skip_broken=False)


def test_test_folder(rng, tmp_path):
    write_folder(tmp_path / "train", {"a": draw(rng, 2), "b": draw(rng, 2)})
    write_folder(tmp_path / "test", {"a": draw(rng, 2), "b": []})
    _, labels, _ = load(tmp_path / "test", class_names=["b", "a"])
    assert labels.tolist() == [1, 1]
    (tmp_path / "test" / "c").mkdir()
    with pytest.raises(ValueError, match="class_names.*folders.*Received.*'c'"):
        load(tmp_path / "test", class_names=["a", "b"])


def test_no_classes_or_images(rng, tmp_path):
    with pytest.raises(FileNotFoundError, match="path.*Received.*absent"):
        load(tmp_path / "absent")
    write_folder(tmp_path, {"a": draw(rng, 2)})
    with pytest.raises(ValueError, match=r"two classes.*Received.*\['a'\]"):
        load(tmp_path)
    (tmp_path / "b").mkdir()
    # Before the others are read.
    (tmp_path / "a" / "2.png").write_text("not an image")
    with pytest.raises(ValueError, match=r"have images.*Received.*\['b'\]"):
        load(tmp_path, skip_broken=False)
    for file in (tmp_path / "a").iterdir():
        file.unlink()
    for names in (None, ["a", "b"]):
        with pytest.raises(ValueError, match="have images.*Received"):
            load(tmp_path, class_names=names)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"image_size": (8, 8, 3)}, "image_size.*Received"),
        ({"image_size": 0}, "image_size.*Received"),
        ({"image_size": "8"}, "image_size.*Received"),
        ({"color_mode": "rgba"}, "color_mode.*Received"),
        ({"image_size": 10**6}, "would take 12000.0 GB.*Received"),
    ],
)
def test_bad_arguments(rng, tmp_path, arguments, message):
    write_folder(tmp_path, {"a": draw(rng, 2), "b": draw(rng, 2)})
    with pytest.raises(ValueError, match=message):
        load(tmp_path, **arguments)


def test_without_pillow(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="Pillow.*pip install pillow"):
        load(tmp_path)


def test_progress_is_shown(rng, tmp_path, capsys):
    write_folder(tmp_path, {"a": draw(rng, 2), "b": draw(rng, 2)})
    load_folder(tmp_path, 8)
    shown = capsys.readouterr().out
    assert "Found 4 files belonging to 2 classes" in shown and "4/4" in shown
