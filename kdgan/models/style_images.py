"""Style images as a player without parameters: what a method of style transfer takes the Gram matrices of."""

import functools
import hashlib
import pathlib
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
    """Images in [0, 1] as frozen variables [k, size, size, 3]; made by `build`, which knows their content.

    Attributes:
      images: of each style a file's path, or "skimage:coffee", a picture that ships with scikit-image.
      size: side in pixels, to which the middle of each is scaled.
      content: digest of the files.
    """

    images: tuple[str, ...] = ()
    size: int = 256
    content: str = ""

    brings_parameters = True
    frozen_only = "a set of style images"

    @nn.compact
    def __call__(self) -> Float32[Array, "k h w 3"]:
        """All of them."""
        return self.variable("images", "pixels", lambda: jnp.asarray(self.pixels, jnp.float32) / 255).value

    @property
    def pixels(self) -> UInt8[np.ndarray, "k h w 3"]:
        """Their pixels."""
        return np.stack([read(name, self.size) for name in self.images])

    @property
    def origin(self) -> str:
        """Where they come from, in words."""
        return ", ".join(self.images)


def build(images: str | tuple[str, ...] = (), size: int = 256) -> StyleImages:
    """The player of these images.

    Raises:
      ValueError: none is named, one cannot be read, or size is no whole number of at least 1.
    """
    names = (images,) if isinstance(images, str) else tuple(images)
    if not names:
        raise ValueError("style_images.images = (): paths of images, or names as 'skimage:coffee', are accepted")
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"style_images.size = {size!r}: pixels of a side, at least 1, are accepted")
    content = hashlib.sha256(b"".join(np.ascontiguousarray(read(name, size)).tobytes() for name in names)).hexdigest()
    return StyleImages(names, size, content)


@functools.lru_cache(maxsize=64)
def read(name: str, size: int) -> UInt8[np.ndarray, "h w 3"]:
    """The middle square of an image, scaled: uint8 [size, size, 3]; alpha is dropped, grey is in every channel.

    Raises:
      ValueError: there is no such file or picture, or it is no image of 8 bits a channel.
    """
    from kdgan.data import images

    path = _shipped(name) if name.startswith(SKIMAGE) else pathlib.Path(expanded(name))
    try:
        header = images.read_header(path)
        return images.fit(images.read_pixels(path, (*header.size, 3), resize=False), (size, size))
    except images.UNREADABLE as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"style image {name!r}: {' '.join(reason.split())}") from error


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
