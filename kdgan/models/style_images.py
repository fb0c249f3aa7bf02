"""Style images as a player without parameters: what a method of style transfer takes the Gram matrices of."""

import functools
import hashlib
import pathlib
from collections.abc import Sequence
from importlib import resources

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Float32, UInt8

from kdgan import extras
from kdgan.files import expanded

SKIMAGE = "skimage:"
SUFFIXES = (".png", ".jpg")


class StyleImages(nn.Module):
    """Images in [0, 1] as frozen variables [k, size, size, c]; made by `build`, which knows their content.

    Attributes:
      images: of each style a file's path, or "skimage:coffee", a picture that ships with scikit-image.
      size: side in pixels, to which the middle of each is scaled.
      channels: 3, or 1 for grey.
      content: digest of the files.
    """

    images: tuple[str, ...] = ()
    size: int = 256
    channels: int = 3
    content: str = ""

    brings_parameters = True
    frozen_only = "a set of style images"
    unit_pixels = True

    @nn.compact
    def __call__(self) -> Float32[Array, "k h w c"]:
        """All of them.

        Raises:
          ValueError: none is named.
        """
        if not self.images:
            raise ValueError("style_images.images = (): paths of images, or names as 'skimage:coffee', are accepted")
        return self.variable("images", "pixels", lambda: jnp.asarray(self.pixels, jnp.float32) / 255).value

    @property
    def pixels(self) -> UInt8[np.ndarray, "k h w c"]:
        """Their pixels."""
        return np.stack([read(name, self.size, self.channels) for name in self.images])

    @property
    def origin(self) -> str:
        """Where they come from, in words."""
        return ", ".join(self.images)


def build(images: str | Sequence[str] = (), size: int = 256, channels: int = 3) -> StyleImages:
    """Style images as a frozen player without parameters; their Gram matrices are what a student learns to paint by.

    Raises:
      ValueError: one cannot be read, size is no whole number of at least 1, or channels not 1 or 3.
    """
    names = names_of(images)
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"style_images.size = {size!r}: pixels of a side, at least 1, are accepted")
    if channels not in (1, 3):
        raise ValueError(f"style_images.channels = {channels!r}: 1 or 3 are accepted")
    pixels = [np.ascontiguousarray(read(name, size, channels)) for name in names]
    content = hashlib.sha256(b"".join(image.tobytes() for image in pixels)).hexdigest()
    return StyleImages(names, size, channels, content)


def names_of(images: str | Sequence[str]) -> tuple[str, ...]:
    """The names of style images: one, or several.

    Raises:
      ValueError: they are no names.
    """
    names = (images,) if isinstance(images, str) else images
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"style_images.images = {images!r}: paths of images, or names as 'skimage:coffee', are accepted"
        )
    return tuple(names)


@functools.lru_cache(maxsize=64)
def read(name: str, size: int, channels: int = 3) -> UInt8[np.ndarray, "h w c"]:
    """The middle square of an image, scaled: uint8 [size, size, c]; alpha is dropped, grey is in every channel.

    Raises:
      ValueError: there is no such file or picture, or it is no image of 8 bits a channel.
    """
    from kdgan.data import images

    path = _shipped(name) if name.startswith(SKIMAGE) else pathlib.Path(expanded(name))
    try:
        header = images.read_header(path)
        return images.fit(images.read_pixels(path, (*header.size, channels), resize=False), (size, size))
    except images.UNREADABLE as error:
        raise ValueError(f"style image {name!r}: {images.reason(error)}") from error


def _shipped(name: str) -> pathlib.Path:
    """The file of a picture that scikit-image's wheel holds."""
    extras.need("skimage", f"style image {name!r}")
    folder = pathlib.Path(str(resources.files("skimage") / "data"))
    called = name.removeprefix(SKIMAGE)
    path = next((folder / f"{called}{suffix}" for suffix in SUFFIXES if (folder / f"{called}{suffix}").is_file()), None)
    if path is None:
        known = sorted(file.stem for file in folder.iterdir() if file.suffix in SUFFIXES)
        raise ValueError(f"style image {name!r}: scikit-image ships {', '.join(known)}")
    return path
