"""From pixels to a ViT's input, as `preprocessor_config.json` says.

N images of H x W pixels become N inputs of h x w. Resizing is Pillow's, on bytes, as in `torchvision`'s transforms of
pictures, by which VC-1 and the first generations of `ViTImageProcessor` were made.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from llarp.config import Section
from llarp.errors import UserError
from llarp.vision.json_files import read_json

if TYPE_CHECKING:
    import torch

_KINDS = ("ViTImageProcessor", "ViTImageProcessorFast", "ViTImageProcessorPil", "ViTFeatureExtractor")
"""Names that the one thing has had; none: a file of ours."""
_KIND_KEYS = ("image_processor_type", "feature_extractor_type")
_DEFAULTS = {"do_resize": True, "resample": 2}
"""Of `ViTImageProcessor`, for files that leave them out."""
_DO = "mend it or take another encoder"


class Preprocessing(Section):
    """From uint8 pixels to the network's input, in the words of `preprocessor_config.json`."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # those files carry many keys of no effect

    do_resize: Literal[True] = Field(description="resize before anything else")
    size: dict[str, int] = Field(description="{shortest_edge} or {height, width}, pixels")
    resample: Literal[2, 3] = Field(default=3, description="2: bilinear, 3: bicubic")
    do_center_crop: bool = Field(default=False, description="cut the middle out after resizing")
    crop_size: dict[str, int] | None = Field(default=None, description="{height, width}, pixels")
    image_mean: tuple[float, float, float] = Field(description="per channel, of pixels in 0..1")
    image_std: tuple[float, float, float] = Field(description="per channel, of pixels in 0..1")

    @field_validator("size", "crop_size")
    @classmethod
    def _edges(cls, size: dict[str, int] | None) -> dict[str, int] | None:
        if size is not None:
            if size.keys() not in ({"height", "width"}, {"shortest_edge"}):
                raise ValueError(f"{sorted(size)} are not height and width, or shortest_edge")
            if min(size.values()) < 1:
                raise ValueError("no positive number of pixels")
        return size

    @field_validator("image_std")
    @classmethod
    def _positive(cls, std: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(std) <= 0:
            raise ValueError("a deviation is not positive")
        return std

    @model_validator(mode="after")
    def _one_size(self) -> "Preprocessing":
        if self.do_center_crop:
            if self.crop_size is None or "height" not in self.crop_size:
                raise ValueError("do_center_crop needs a crop_size of height and width")
            smallest = self.size.get("shortest_edge")
            height, width = (smallest, smallest) if smallest else (self.size["height"], self.size["width"])
            if height < self.crop_size["height"] or width < self.crop_size["width"]:
                raise ValueError("crop_size is more than size leaves")
        elif "shortest_edge" in self.size:
            raise ValueError("size: a shortest_edge without do_center_crop gives inputs of many sizes")
        return self

    @property
    def input_size(self) -> tuple[int, int]:
        """(h, w) of every input, pixels."""
        edges = self.crop_size if self.do_center_crop and self.crop_size is not None else self.size
        return edges["height"], edges["width"]

    def prepare(self, images: np.ndarray, device: "torch.device | str" = "cpu") -> "torch.Tensor":
        """float32[N, 3, h, w] input of uint8[N, H, W, 3] images, on a device."""
        import torch

        if images.shape[1:3] != self._resized(images.shape[1:3]):
            images = self._resize(images)
        if self.do_center_crop:
            height, width = self.input_size
            # Half a pixel is rounded to the even one, as torchvision's centre crop does.
            top, left = round((images.shape[1] - height) / 2), round((images.shape[2] - width) / 2)
            images = images[:, top : top + height, left : left + width]
        mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (self.image_mean, self.image_std))
        pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(device).float()
        return pixels.div_(255).sub_(mean).div_(std)

    def _resized(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """(height, width) after resizing; the longer edge is cut off to whole pixels."""
        if "shortest_edge" not in self.size:
            return self.size["height"], self.size["width"]
        edge, short = self.size["shortest_edge"], min(shape)
        return int(edge * shape[0] / short), int(edge * shape[1] / short)

    def _resize(self, images: np.ndarray) -> np.ndarray:
        from PIL import Image

        height, width = self._resized(images.shape[1:3])
        how = Image.Resampling(self.resample)
        return np.stack([np.asarray(Image.fromarray(image).resize((width, height), how)) for image in images])


def read_preprocessing(path: Path) -> Preprocessing:
    """Reads `preprocessor_config.json` of any generation of `ViTImageProcessor`, or of ours.

    Raises:
        UserError: the file is missing or damaged, another model's, or asks for what is not done here.

    """
    values = {key: value for key, value in read_json(path, "take an encoder with one").items() if value is not None}
    kind = next((values[key] for key in _KIND_KEYS if key in values), None)
    if kind is not None and kind not in _KINDS:
        raise UserError(f"key image_processor_type: {kind} is not a ViT's", path, _DO)
    if values.get("do_rescale", True) is not True or not _is_of_bytes(values.get("rescale_factor", 1 / 255)):
        raise UserError("key rescale_factor: pixels are divided by 255 here, and these are not", path, _DO)
    if values.get("do_pad", False):
        raise UserError("key do_pad: images are not padded here", path, _DO)
    if not values.get("do_normalize", True):
        values |= {"image_mean": (0, 0, 0), "image_std": (1, 1, 1)}
    for key in ("size", "crop_size"):  # one number: a square
        if isinstance(values.get(key), int):
            values[key] = {"height": values[key], "width": values[key]}
    try:
        return Preprocessing.model_validate(_DEFAULTS | values)
    except ValidationError as error:
        first = error.errors()[0]
        key = f"key {first['loc'][0]}: " if first["loc"] else ""
        raise UserError(f"{key}{first['msg']}", path, _DO) from None


def _is_of_bytes(factor: Any) -> bool:
    return isinstance(factor, float) and abs(255 * factor - 1) < 1e-6
