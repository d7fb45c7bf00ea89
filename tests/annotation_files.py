"""Small data sets in every format, all of one picture: a cat that is a square, and a dog that is a ring with a hole."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 10, 12
SQUARE = [1, 1, 5, 1, 5, 5, 1, 5]  # a polygon of 16 pixels
SQUARE_POINTS = [[1, 1], [5, 1], [5, 5], [1, 5]]


def square_mask():
    """The pixels of the cat."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[1:5, 1:5] = True
    return mask


def ring_mask():
    """The pixels of the dog: 3 x 3 without the one in the middle."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[6:9, 7:10] = True
    mask[7, 8] = False
    return mask


def numbers(cat=1, dog=2):
    """A mask image with numbers for both."""
    return (square_mask() * cat + ring_mask() * dog).astype(np.int32)


def save_picture(path, height=HEIGHT, width=WIDTH, **options):
    """Saves a grey picture, and makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (90, 90, 90)).save(path, **options)
    return path


def save_mask(path, values, palette=None):
    """Saves an integer array [H, W] as PNG of 8 or 16 bits, or an array [H, W, 3] in colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.asarray(values)
    image = Image.fromarray(values.astype(np.uint8 if values.max() < 256 else np.uint16))
    if palette:
        image.putpalette(palette)
    image.save(path)
    return path


def save_text(path, text):
    """Saves text, or anything else as JSON, and makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


def png_text(mask):
    """A mask as PNG in base64, as LabelMe has it."""
    content = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(content, format="PNG")
    return base64.b64encode(content.getvalue()).decode()


def labelme_content(**fields):
    """The content of a LabelMe file."""
    square = {"label": "cat", "points": SQUARE_POINTS, "group_id": None, "shape_type": "polygon", "flags": {}}
    ring = {"label": "dog", "points": [[7, 6], [9, 8]], "shape_type": "mask", "mask": png_text(ring_mask()[6:9, 7:10])}
    content = {"version": "5.4.1", "flags": {}, "shapes": [square, ring], "imagePath": "a.png", "imageData": None}
    return {**content, "imageHeight": HEIGHT, "imageWidth": WIDTH, **fields}


def labelme(folder):
    save_picture(folder / "a.png")
    save_text(folder / "a.json", labelme_content())
    return folder


def labelme_xml(folder):
    save_picture(folder / "a.png")
    save_mask(folder / "Masks" / "a_mask_1.png", ring_mask() * 255)
    points = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in SQUARE_POINTS)
    size = f"<imagesize><nrows>{HEIGHT}</nrows><ncols>{WIDTH}</ncols></imagesize>"
    cat = f"<object><name>cat</name><deleted>0</deleted><id>0</id><polygon>{points}</polygon></object>"
    dog = "<object><name>dog</name><id>1</id><segm><mask>a_mask_1.png</mask></segm></object>"
    save_text(folder / "a.xml", f"<annotation><filename>a.png</filename><folder/>{size}{cat}{dog}</annotation>")
    return folder


def via_region(shape, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes}


def via(folder):
    """VIA has no masks: both objects are polygons."""
    save_picture(folder / "a.png")
    cat = {"name": "polygon", "all_points_x": SQUARE[::2], "all_points_y": SQUARE[1::2]}
    dog = {"name": "rect", "x": 7, "y": 6, "width": 3, "height": 3}
    regions = [via_region(cat, label="cat"), via_region(dog, label="dog")]
    save_text(folder / "via.json", {"a.png99": {"filename": "a.png", "size": 99, "regions": regions}})
    return folder


def via_csv(folder):
    save_picture(folder / "a.png")
    rows = ["filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"]
    cat = {"name": "polygon", "all_points_x": SQUARE[::2], "all_points_y": SQUARE[1::2]}
    dog = {"name": "rect", "x": 7, "y": 6, "width": 3, "height": 3}
    for number, (shape, label) in enumerate([(cat, "cat"), (dog, "dog")]):
        cells = [json.dumps(shape), json.dumps({"label": label})]
        quoted = ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)
        rows.append(f'a.png,99,"{{}}",2,{number},{quoted}')
    save_text(folder / "via.csv", "\n".join(rows) + "\n")
    return folder


def yolo(folder):
    """YOLO has no masks: the dog is a square."""
    save_picture(folder / "images" / "train" / "a.png")
    square = " ".join(str(value / (HEIGHT if place % 2 else WIDTH)) for place, value in enumerate(SQUARE))
    dog = " ".join(
        str(value / side) for x, y in [(7, 6), (10, 6), (10, 9), (7, 9)] for value, side in [(x, WIDTH), (y, HEIGHT)]
    )
    save_text(folder / "labels" / "train" / "a.txt", f"0 {square}\n1 {dog}\n")
    save_text(folder / "dataset.yaml", "path: .\ntrain: images/train\nnames:\n  0: cat\n  1: dog\n")
    return folder


def masks(folder):
    save_picture(folder / "images" / "a.png")
    save_mask(folder / "masks" / "a.png", numbers())
    save_text(folder / "classes.json", {"a": {"1": "cat", "2": "dog"}})
    return folder


def mask_files(folder):
    """A folder for each picture, with a file for each object."""
    save_picture(folder / "a" / "images" / "a.png")
    save_mask(folder / "a" / "masks" / "c0ffee.png", square_mask() * 255)
    save_mask(folder / "a" / "masks" / "decaf.png", ring_mask() * 255)
    save_text(folder / "classes.json", {"a": {"c0ffee": "cat", "decaf": "dog"}})
    return folder


def voc(folder):
    """Palette images, as labelme2voc writes them."""
    save_picture(folder / "JPEGImages" / "a.jpg")
    palette = list(range(256)) * 3
    save_mask(folder / "SegmentationClass" / "a.png", numbers(cat=2, dog=1), palette)
    save_mask(folder / "SegmentationObject" / "a.png", numbers(), palette)
    save_text(folder / "class_names.txt", "_background_\ndog\ncat\n")
    return folder


def voc_colours(folder):
    """RGB images, as CVAT writes them."""
    save_picture(folder / "JPEGImages" / "a.jpg")
    cat, dog = square_mask()[..., None], ring_mask()[..., None]
    save_mask(folder / "SegmentationClass" / "a.png", cat * [250, 50, 83] + dog * [51, 221, 255])
    save_mask(folder / "SegmentationObject" / "a.png", cat * [128, 0, 0] + dog * [0, 128, 0])
    save_text(
        folder / "labelmap.txt",
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ndog:51,221,255::\ncat:250,50,83::\n",
    )
    save_text(folder / "ImageSets" / "Segmentation" / "default.txt", "a\n")
    return folder


def cityscapes(folder):
    """The cat is a person, the dog a car; the corner is a surface."""
    save_picture(folder / "leftImg8bit" / "train" / "ulm" / "ulm_000000_000019_leftImg8bit.png")
    values = numbers(cat=24000, dog=26001)
    values[0, :3] = 7
    save_mask(folder / "gtFine" / "train" / "ulm" / "ulm_000000_000019_gtFine_instanceIds.png", values)
    return folder


def cvat(folder):
    save_picture(folder / "images" / "a.png")
    points = ";".join(f"{x},{y}" for x, y in SQUARE_POINTS)
    runs = "0, 4, 1, 4"
    save_text(
        folder / "annotations.xml",
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task><labels>'
        "<label><name>dog</name></label><label><name>cat</name></label></labels></task></meta>"
        f'<image id="0" name="a.png" width="{WIDTH}" height="{HEIGHT}">'
        f'<polygon label="cat" points="{points}" z_order="0"></polygon>'
        f'<mask label="dog" rle="{runs}" left="7" top="6" width="3" height="3"></mask></image></annotations>',
    )
    return folder


def coco_content(**fields):
    """The content of a COCO file."""
    ring = {"size": [HEIGHT, WIDTH], "counts": [76, 3, 7, 1, 1, 1, 7, 3, 21]}
    common = {"image_id": 3, "iscrowd": 0}
    cat = {"id": 1, "category_id": 7, "bbox": [1, 1, 4, 4], "area": 16, "segmentation": [SQUARE], **common}
    dog = {"id": 2, "category_id": 9, "bbox": [7, 6, 3, 3], "area": 8, "segmentation": ring, **common}
    return {
        "images": [{"id": 3, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "annotations": [cat, dog],
        "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}],
        **fields,
    }


def coco(folder):
    save_picture(folder / "images" / "train" / "a.png")
    save_text(folder / "annotations" / "instances_train.json", coco_content())
    return folder


# The format of each data set, and the function that writes it into a folder.
WRITERS = {
    "labelme": ("labelme", labelme),
    "labelme-xml": ("labelme-xml", labelme_xml),
    "via": ("via", via),
    "via-csv": ("via", via_csv),
    "yolo": ("yolo", yolo),
    "masks": ("masks", masks),
    "mask-files": ("masks", mask_files),
    "voc": ("voc", voc),
    "voc-colours": ("voc", voc_colours),
    "cityscapes": ("cityscapes", cityscapes),
    "cvat": ("cvat", cvat),
    "coco": ("coco", coco),
}
WITHOUT_HOLES = ("via", "via-csv", "yolo")  # the dog is a full square there
