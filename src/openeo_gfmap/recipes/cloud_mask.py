"""The cloud mask of a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from openeo_gfmap.errors import InputError

__all__ = ["SclDilation"]


@dataclass(frozen=True)
class SclDilation:
    """The cloud mask that openEO's ``to_scl_dilation_mask`` makes from the scene classification.

    Parameters
    ----------
    kernel1_size, kernel2_size : int
        Sides in pixels of the Gaussian kernels that smooth suspect classes, and that grow clouds
        and their shadows; 0 skips one.
    mask1_values : tuple of int
        Classes that are clear.
    mask2_values : tuple of int
        Classes of clouds, shadows and snow.
    erosion_kernel_size : int
        Side in pixels of what is too small to be a cloud; 0 keeps all.
    """

    kernel1_size: int = 17
    kernel2_size: int = 77
    mask1_values: tuple[int, ...] = (2, 4, 5, 6, 7)
    mask2_values: tuple[int, ...] = (3, 8, 9, 10, 11)
    erosion_kernel_size: int = 3

    def __post_init__(self) -> None:
        for name in ("kernel1_size", "kernel2_size", "erosion_kernel_size"):
            if getattr(self, name) < 0:
                raise InputError(
                    f"{name} is {getattr(self, name)}; expected 0 or more pixels.",
                    about=f"cloud_mask.{name}",
                )
        for name in ("mask1_values", "mask2_values"):
            wrong = [value for value in getattr(self, name) if value not in range(12)]
            if wrong:
                raise InputError(
                    f"{name} has {wrong[0]}; the classes of SCL are 0 to 11.",
                    about=f"cloud_mask.{name}",
                )
