"""Images as they come over the wire, checked before anything of them is unpacked."""

from io import BytesIO

import numpy as np

RAW = "application/octet-stream"
"""Media type of the bare bytes of uint8[H, W, 3]."""
FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG"}
"""Media types of files, with their names in pillow."""


def decode(content: bytes, media_type: str, shape: tuple[int, int, int]) -> np.ndarray:
    """The image in the body of a request.

    Args:
        content: a file of `FORMATS`, or bare bytes.
        media_type: a key of `FORMATS`, or `RAW`.
        shape: (H, W, 3) that it must have: nothing is scaled, and a file that says otherwise is never unpacked.

    Returns:
        uint8[H, W, 3].

    Raises:
        ValueError: it is no such image.

    """
    height, width, channels = shape
    if media_type == RAW:
        if len(content) != height * width * channels:
            raise ValueError(f"{len(content)} bytes are no uint8[{height}, {width}, {channels}]")
        return np.frombuffer(content, np.uint8).reshape(shape)
    from PIL import Image

    name = FORMATS[media_type]
    try:
        with Image.open(BytesIO(content), formats=[name]) as image:  # reads no more than the head of the file
            if image.size != (width, height) or image.mode != "RGB":
                raise ValueError(
                    f"an image of {image.width} x {image.height} pixels, {image.mode}, not {width} x {height}, RGB"
                )
            return np.array(image)
    except ValueError:
        raise
    except Exception as error:  # pillow's readers raise what they like at damaged files
        raise ValueError(f"no readable {name} file") from error
