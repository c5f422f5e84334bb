"""
Baselines: the images that stand for missing information where a method hides an image or starts a
path to it.
"""

from torch import Tensor
from torchvision.transforms.functional import gaussian_blur


def baseline_image(image: Tensor, baseline: str) -> Tensor:
    """
    An image (C, H, W) made "black", its "mean" colour, or a "blur" by a tenth of its shorter side.
    """
    if baseline == "black":
        return image.new_zeros(image.shape)
    if baseline == "mean":
        return image.mean((1, 2), keepdim=True).expand_as(image)
    sigma = max(1.0, min(image.shape[-2:]) / 10)
    # Reflection needs a smaller kernel than image.
    size = 2 * min(int(3 * sigma), min(image.shape[-2:]) - 1) + 1
    return gaussian_blur(image, [size, size], [sigma, sigma])
