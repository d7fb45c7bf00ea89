"""The resize as torchvision does it, of one image."""

from keras_mrcnn.ops.images import resize_to, resized_size


def resize_image(image, min_size, max_size):
    """float32 [h, w, C] of an image [H, W, C]."""
    return resize_to(image, resized_size(*image.shape[:2], min_size, max_size))
