"""Says what classes are called."""

from typing import Optional, Sequence


def class_name(class_id: int, class_names: Optional[Sequence[str]]) -> str:
    """
    Name of a class, or "class 7" where there is no name (no metadata, or metadata of fewer
    classes).
    """
    return (
        class_names[class_id]
        if class_names and class_id < len(class_names)
        else f"class {class_id}"
    )
