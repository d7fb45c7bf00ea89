"""Small videos for the tests, and a detector that needs no network."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

from keras_mrcnn.base.records import Detections
from keras_mrcnn.video.frame import Frame

MILLISECOND = Fraction(1, 1000)
RED, GREEN, BLUE, WHITE = (230, 20, 20), (20, 200, 20), (20, 20, 230), (250, 250, 250)
# Longer than the pipeline looks ahead, at uneven times, in milliseconds.
UNEVEN = (0, 40, 100, 110, 500, 520, 525, 700, 733, 766, 800, 1200, 1210, 1300, 1301, 1500)


def corners(height=48, width=64):
    """A picture whose corners are red, green, blue and white: top left, top right, bottom left, bottom right."""
    image = np.full((height, width, 3), 90, np.uint8)
    rows, columns = height // 3, width // 3
    image[:rows, :columns], image[:rows, -columns:] = RED, GREEN
    image[-rows:, :columns], image[-rows:, -columns:] = BLUE, WHITE
    return image


def corner_names(image):
    """The colours of the corners of a picture made by `corners`, in its order, though it was encoded."""
    height, width, _ = image.shape
    points = [(height // 6, width // 6), (height // 6, -width // 6), (-height // 6, width // 6)]
    names = {"red": RED, "green": GREEN, "blue": BLUE, "white": WHITE}
    found = [image[y, x].astype(int) for y, x in [*points, (-height // 6, -width // 6)]]
    return " ".join(min(names, key=lambda name: np.abs(colour - names[name]).max()) for colour in found)


def write_clip(path, times=UNEVEN, images=None, tick=MILLISECOND, setup=None, sound=False, options=None, rate=25):
    """Writes a video with PyAV alone and returns its path; `setup(stream)` may change the stream before the start."""
    images = images or [corners()] * len(times)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libvpx-vp9" if path.suffix == ".webm" else "libx264", rate=rate)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv444p" if stream.height % 2 or stream.width % 2 else "yuv420p"
        stream.time_base = stream.codec_context.time_base = tick
        if setup:
            setup(stream)
        track = container.add_stream("aac", rate=8000) if sound else None
        for time, image in zip(times, images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if track is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts = 8000, 0
            container.mux(track.encode(silence))
            container.mux(track.encode(None))
    return path


def read_clip(path):
    """(images, times in seconds) of a video, by PyAV alone."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    times = [float(frame.pts * frame.time_base) for frame in frames]
    return [frame.to_ndarray(format="rgb24") for frame in frames], times


def cut_off(path, share):
    """Leaves the first `share` of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def noise_clip(path, count=40):
    """A video that a cut takes frames from, wherever it is: its packets are large. Its head comes first."""
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(count)]
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    return write_clip(path, range(0, 40 * count, 40), images, options=options)


class StillFrames:
    """A source of frames made in memory."""

    has_sound, is_endless, files, pixel_aspect = False, False, (), Fraction(1)
    time_base, rate, name = Fraction(1, 25), Fraction(25), "made"

    def __init__(self, images):
        self.images, self.num_frames, self.given = images, None, 0

    def __iter__(self):
        for number, image in enumerate(self.images):
            self.given += 1
            yield Frame(image, number, 1)


class OneBox:
    """In the place of a `MaskRCNN`: one confident object, whose box is the brightest column's neighbourhood."""

    batch_sizes: list[int] = []

    def __init__(self):
        self.batch_sizes.clear()

    def predict(self, pictures, batch_size):
        assert len(pictures) <= batch_size
        self.batch_sizes.append(len(pictures))
        return [self._detections(picture) for picture in pictures]

    @staticmethod
    def _detections(picture):
        centre = picture.astype(int).sum(axis=(0, 2)).argmax()
        box, mask = [centre - 8, 22, centre + 8, 44], np.ones((1, 28, 28))
        return Detections(np.float32([box]), np.float32([0.9]), np.int32([4]), ("kite",), mask, picture.shape[:2])
