"""The images of a data set, told apart also where their identifiers repeat."""

from collections import Counter
from typing import Any, Dict, List, Mapping, Tuple

from ..results.record_store import record_name
from .ground_truth import DatasetError, load_dataset

ImageKey = Tuple[str, str]
"""The image_id as text, and the file_name."""


def image_key(image: Mapping[str, Any]) -> ImageKey:
    """Make the key of a data set's dict, of a model's input, or of a record."""
    return str(image["image_id"]), str(image.get("file_name", ""))


class DatasetImages:
    """
    The dicts of a registered data set, each found by its identifier.

    Tiles of one picture and merged data sets repeat the ``image_id``: there the ``file_name`` tells
    images apart.

    Attributes:
        records: key -> dict, in the order of the data set.
    """

    def __init__(self, dataset_name: str):
        """
        Raises:
            DatasetError: the data set is not registered, cannot be read, or has two images with one
                image_id and one file_name.
        """
        images = load_dataset(dataset_name)
        self.records: Dict[ImageKey, Dict[str, Any]] = {image_key(i): i for i in images}
        self._count = Counter(image_id for image_id, _ in self.records)
        self._by_id = {key[0]: key for key in self.records}
        self._name = dataset_name
        if len(self.records) < len(images):
            key, number = Counter(map(image_key, images)).most_common(1)[0]
            raise DatasetError(
                f"The data set '{dataset_name}' has {number} images with the image_id {key[0]} and "
                f"the file_name '{key[1]}': give each image an image_id of its own."
            )

    def key(self, image: Mapping[str, Any]) -> ImageKey:
        """
        Key of the image that a model's input is of.

        Args:
            image: with "image_id"; and with "file_name" if several images have this image_id.

        Raises:
            ValueError: the data set has no such image.
        """
        image_id, file_name = image_key(image)
        if self._count[image_id] == 1:
            return self._by_id[image_id]
        if (image_id, file_name) not in self.records:
            found = f"{self._count[image_id]} images" if self._count[image_id] else "no image"
            raise ValueError(
                f"The data set '{self._name}' has {found} with the image_id {image_id}, and none "
                f"of them is the file '{file_name}': give the evaluator the name of the data set "
                "that the model's inputs are from."
            )
        return image_id, file_name

    def record_name(self, key: ImageKey) -> str:
        """Part of a file name, another one for each image."""
        return record_name(key[0] if self._count[key[0]] == 1 else " ".join(key))

    def in_order(self, by_key: Mapping[ImageKey, Any]) -> List[Any]:
        """The values of some images in the order of the data set."""
        return [by_key[key] for key in self.records if key in by_key]
