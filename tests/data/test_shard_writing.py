import hashlib
import io
import json
import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from child_programs import child_environment
from PIL import Image

from keras_mrcnn.base.image_files import read_image
from keras_mrcnn.data import shard_writing
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.data.fine_masks import fine_mask
from keras_mrcnn.data.shard_writing import ImageJob, ShardJob, write_shard
from keras_mrcnn.data.shards import decode_record

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (20, 30), np.uint8)
COLOUR = RANDOM.integers(0, 256, (20, 30, 3), np.uint8)
ALPHA = RANDOM.integers(0, 256, (20, 30), np.uint8)


def png(bits, colours, rows, *chunks):
    """A PNG file; `rows` are uint8 [h, bytes of a row], the others as its header has them, and (name, content)."""

    def chunk(name, content):
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours]
    header = struct.pack(">IIBBBBB", rows.shape[1] * 8 // (bits * samples), rows.shape[0], bits, colours, 0, 0, 0)
    scanlines = np.insert(rows, 0, 0, axis=1).tobytes()
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(scanlines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def saved(image, kind="PNG", **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def turned(orientation, kind="PNG"):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(Image.fromarray(COLOUR), kind, exif=exif)


def pictures():
    """Makes files of every kind that `read_image` reads."""
    palette = Image.fromarray(COLOUR).quantize(7)
    rgba = Image.fromarray(np.dstack([COLOUR, ALPHA]))
    grey = Image.fromarray(GREY)
    deep = np.repeat(RANDOM.integers(0, 256, (20, 30), np.uint8), 2, axis=1)
    return {
        "grey.png": saved(grey),
        "grey_alpha.png": saved(Image.merge("LA", [grey, Image.fromarray(ALPHA)])),
        "colour.png": saved(Image.fromarray(COLOUR)),
        "colour_alpha.png": saved(rgba),
        "palette.png": saved(palette),
        "palette_alpha.png": saved(palette, transparency=bytes(range(0, 250, 40))),
        "palette_one.png": saved(palette, transparency=2),
        "grey_one.png": saved(grey, transparency=int(GREY[0, 0])),
        "colour_one.png": saved(Image.fromarray(COLOUR), transparency=tuple(COLOUR[0, 0].tolist())),
        "one_bit.png": saved(Image.fromarray(GREY > 100)),
        "two_bits.png": png(2, 0, GREY),
        "four_bits.png": png(4, 0, GREY),
        "sixteen_bits.png": saved(Image.fromarray(GREY.astype(np.uint16) * 257)),
        "sixteen_bits_low.png": saved(Image.fromarray(GREY.astype(np.uint16))),
        "sixteen_bits_colour.png": png(16, 2, RANDOM.integers(0, 256, (8, 12), np.uint8)),
        "sixteen_bits_alpha.png": png(16, 6, RANDOM.integers(0, 256, (8, 16), np.uint8)),
        "sixteen_bits_grey_alpha.png": png(16, 4, deep),
        "gamma.png": png(8, 2, COLOUR.reshape(20, 90), (b"gAMA", struct.pack(">I", 100_000))),
        "srgb.png": png(8, 2, COLOUR.reshape(20, 90), (b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 45_455))),
        "bits_used.png": png(8, 2, COLOUR.reshape(20, 90) & 0xF8, (b"sBIT", b"\5\5\5")),
        "background.png": png(8, 6, np.dstack([COLOUR, ALPHA]).reshape(20, 120), (b"bKGD", b"\0\xff\0\0\0\xff")),
        "colour.jpg": saved(Image.fromarray(COLOUR), "JPEG"),
        "grey.jpg": saved(grey, "JPEG"),
        "cmyk.jpg": saved(Image.fromarray(COLOUR).convert("CMYK"), "JPEG"),
        "progressive.jpg": saved(Image.fromarray(COLOUR), "JPEG", progressive=True, quality=95, subsampling=0),
        "rgb.jpg": saved(Image.fromarray(COLOUR), "JPEG", keep_rgb=True),
        "more.jpg": saved(Image.fromarray(COLOUR), "JPEG") + b"and more",
        "several.jpg": saved(Image.fromarray(COLOUR), "MPO", save_all=True, append_images=[grey.convert("RGB")]),
        "several.png": saved(Image.fromarray(COLOUR), save_all=True, append_images=[grey.convert("RGB")]),
        "colour.bmp": saved(Image.fromarray(COLOUR), "BMP"),
        "colour.gif": saved(palette, "GIF"),
        "moving.gif": saved(palette, "GIF", save_all=True, append_images=[palette.rotate(180)], transparency=1),
        "colour.tif": saved(Image.fromarray(COLOUR), "TIFF"),
        "float.tif": saved(Image.fromarray(GREY / np.float32(255)), "TIFF"),
        "sixteen.tif": saved(Image.fromarray(GREY.astype(np.int32) * 257), "TIFF"),
        "cmyk.tif": saved(Image.fromarray(COLOUR).convert("CMYK"), "TIFF"),
        "colour.webp": saved(rgba, "WEBP", lossless=True),
        "ycbcr.tif": saved(Image.fromarray(COLOUR).convert("YCbCr"), "TIFF"),
        "pixel.ppm": saved(Image.fromarray(COLOUR[:1, :1]), "PPM"),
        **{f"turned{number}.jpg": turned(number, "JPEG") for number in range(10)},
        **{f"turned{number}.png": turned(number) for number in range(10)},
        "turned.tif": turned(6, "TIFF"),
        "turned.webp": turned(6, "WEBP"),
    }


PICTURES = pictures()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with `PICTURES`."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, content in PICTURES.items():
        (folder / name).write_bytes(content)
    return folder


def job_of(folder, names, path, annotations=(), mask_size=4):
    """The job of a shard of these images; `annotations` are those of the first."""
    images = []
    for row, name in enumerate(names):
        height, width = read_image(folder / name).shape[:2]
        record = {"id": row + 1, "file_name": name, "height": height, "width": width}
        images.append(ImageJob(row, record, tuple(enumerate(annotations if row == 0 else ()))))
    return ShardJob(str(path), tuple(images), folder, {1: 1, 5: 2}, mask_size)


def records_of(path):
    return [record.numpy() for record in tf.data.TFRecordDataset(str(path))]


def summary_of(path):
    return json.loads(Path(f"{path}.json").read_text())


@pytest.fixture(scope="module")
def records(folder, tmp_path_factory):
    """The record of each picture, by its name."""
    path = tmp_path_factory.mktemp("shard") / "all.tfrecord"
    write_shard(job_of(folder, PICTURES, path))
    assert summary_of(path)["problems"] == []
    return dict(zip(PICTURES, records_of(path)))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", PICTURES)
def test_stored_images_are_those_of_pillow(folder, records, name, channels):
    image = decode_record(tf.constant(records[name]), channels=channels, mask_size=4)["image"]
    difference = image.numpy().astype(int) - read_image(folder / name, channels=channels)
    # Pillow takes the grey of this one from the file, and not from its colours.
    assert np.abs(difference).max() <= (1 if (name, channels) == ("ycbcr.tif", 1) else 0)


def stored(record):
    return tf.train.Example.FromString(record).features.feature["image"].bytes_list.value[0]


def test_jpeg_and_png_are_kept_as_they_are(folder, records):
    kept = {name for name, record in records.items() if stored(record) == (folder / name).read_bytes()}
    others = {name for name in records if not name.endswith((".jpg", ".png"))}
    changed = {"cmyk.jpg", "palette.png", "palette_alpha.png", "palette_one.png", "grey_one.png", "colour_one.png",
               "one_bit.png", "two_bits.png", "four_bits.png", "sixteen_bits.png", "sixteen_bits_low.png"}  # fmt: skip
    assert set(records) - kept == others | changed
    for name in others | changed:
        assert Image.open(io.BytesIO(stored(records[name]))).format == "PNG"


def annotation(number, box, segmentation, category=5, crowd=0):
    return {"id": number, "image_id": 1, "category_id": category, "bbox": box, "iscrowd": crowd,
            "segmentation": segmentation}  # fmt: skip


ANNOTATIONS = (
    annotation(1, [2.5, 3, 10, 12], [[2.5, 3, 12.5, 3, 12.5, 15, 2.5, 15]]),
    annotation(2, [0, 0, 30, 20], {"size": [20, 30], "counts": [0, 600]}, crowd=1),
    annotation(3, [10, 10, 20, 10], [[10, 10, 40, 10, 30, 20]], category=1),
    annotation(4, [0, 0, 4, 4], {"size": [20, 30], "counts": [0, 4, 16, 4, 576]}, category=1),
)


def test_objects_are_those_of_the_reader(folder, tmp_path):
    write_shard(job_of(folder, ["colour.png"], tmp_path / "one", ANNOTATIONS))
    (record,) = records_of(tmp_path / "one")
    fields = decode_record(tf.constant(record), channels=3, mask_size=4, fine=True)
    content = {
        "images": [{"id": 1, "file_name": "colour.png", "height": 20, "width": 30}],
        "annotations": list(ANNOTATIONS),
        "categories": [{"id": 1, "name": "a"}, {"id": 5, "name": "b"}],
    }
    truth = CocoDataset(content, folder).ground_truth(1, 4)
    for name in ("boxes", "labels", "masks"):
        np.testing.assert_array_equal(fields[name], getattr(truth, name), err_msg=name)
    wanted = [fine_mask(one["segmentation"], 20, 30) for one in ANNOTATIONS if not one["iscrowd"]]
    assert fields["frames"].numpy().tolist() == [list(mask.frame) for mask in wanted]


def test_summary_says_where_the_records_are(folder, tmp_path):
    names = ["colour.png", "grey.jpg", "turned6.jpg"]
    write_shard(job_of(folder, names, tmp_path / "one", ANNOTATIONS))
    content, summary = (tmp_path / "one").read_bytes(), summary_of(tmp_path / "one")
    assert summary["bytes"] == len(content) and summary["sha256"] == hashlib.sha256(content).hexdigest()
    assert summary["image_ids"] == [1, 2, 3] and summary["num_objects"] == [3, 0, 0]
    assert summary["sizes"] == [[20, 30], [20, 30], [30, 20]]
    places = zip(summary["offsets"], summary["lengths"])
    assert [content[start : start + length] for start, length in places] == records_of(tmp_path / "one")


def test_shard_is_the_same_each_time(folder, tmp_path):
    for name in ("one", "again"):
        write_shard(job_of(folder, ["colour.png", "cmyk.jpg"], tmp_path / name, ANNOTATIONS))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "again").read_bytes()
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "again.json").read_bytes()
    assert len(list(tmp_path.iterdir())) == 4


def test_what_has_a_fault_is_listed_and_left_out(folder, tmp_path):
    for name, content in (("a.png", b"no picture"), ("b.png", PICTURES["colour.png"][:500])):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "colour.png").write_bytes(PICTURES["colour.png"])
    bad = annotation(9, [0, 0, 5, 5], [[1, 2, 3]])
    job = job_of(folder, ["colour.png"] * 5, tmp_path / "one", (ANNOTATIONS[0], bad))
    names = ("colour.png", "a.png", "b.png", "c.png", "colour.png")
    images = [image._replace(record={**image.record, "file_name": name}) for image, name in zip(job.images, names)]
    images[4].record["height"] = 21
    write_shard(job._replace(images=tuple(images), image_folder=tmp_path))
    summary = summary_of(tmp_path / "one")
    assert [(one["kind"], one["file_name"], one["annotation_id"], one["record"]) for one in summary["problems"]] == [
        ("bad segmentation", "colour.png", 9, ["annotations", 1]),
        ("unreadable file", "a.png", None, ["images", 1]),
        ("unreadable file", "b.png", None, ["images", 2]),
        ("missing file", "c.png", None, ["images", 3]),
        ("size mismatch", "colour.png", None, ["images", 4]),
    ]
    assert (summary["image_ids"], summary["num_objects"]) == ([1], [1])
    assert len(records_of(tmp_path / "one")) == 1


def test_shard_of_bad_images_alone_is_empty(folder, tmp_path):
    job = job_of(folder, ["colour.png"], tmp_path / "one")
    write_shard(job._replace(image_folder=tmp_path))
    assert summary_of(tmp_path / "one")["image_ids"] == [] and (tmp_path / "one").read_bytes() == b""


def test_process_that_writes_shards(folder, tmp_path):
    """As a program the module answers each job: None, or the error."""
    jobs = [job_of(folder, ["colour.png"], tmp_path / name) for name in ("one", "nowhere/two", "three")]
    process = subprocess.run(
        [sys.executable, "-m", shard_writing.__name__],
        input=b"".join(map(pickle.dumps, jobs)),
        env=child_environment(),
        capture_output=True,
        timeout=600,
        check=True,
    )
    answers = io.BytesIO(process.stdout)
    assert pickle.load(answers) is None
    assert isinstance(pickle.load(answers), tf.errors.NotFoundError)
    assert pickle.load(answers) is None and not answers.read()
    write_shard(jobs[0]._replace(path=str(tmp_path / "here")))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "here").read_bytes() == (tmp_path / "three").read_bytes()
