"""Degradations: how the images that players are given are made of clean ones, `{"bicubic": {"scale": 2}, "gaussian": ...}`.

| name | what it does | random |
|---|---|---|
| bicubic | reduces by `scale`, as MATLAB does (`kdgan/bicubic.py`), to uint8; `trim` cuts sides to multiples of it | no |
| poisson | Poisson(`peak`·x)/`peak` of a pixel x in [0, 1]: photons counted | yes |
| gaussian | adds N(0, (`sigma`/255)²), unclipped; `sigma` = (low, high): uniform between, drawn by image | yes |
| function | `(key, image [h, w, c], **arguments) -> image`, by its dotted path `name` | yes |

They are applied in this order. The random part of the first two is a pure function of (two words, row, column, channel) of
a pixel in its whole image, made of integers, of tables and of operations that no compiler can contract to other roundings:
a window of a noisy image is bitwise the noisy window, in every program.
"""

import dataclasses
import functools
import importlib
import inspect
import json
import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float32, Int, Integer, UInt8, UInt32
from scipy import special

from kdgan import bicubic

FUNCTION = "function"
LARGEST_SIGMA, LARGEST_PEAK = 255.0, 10_000.0
SMALLEST = 1e-3  # of both: a smaller peak is noise of more than 1,000 times the pixels' range, a smaller sigma is none
_FINEST = 2.0**20  # noise is a multiple of 1/2²⁰: a product with it is exact, so that x + noise is rounded once
_BITS, _LOOKUPS = 12, 4  # a normal number is the sum of so many quantiles, each by so many bits
_UNIT = np.arange(256, dtype=np.float32) / np.float32(255)  # looked up: a compiler may turn x/255 into x·(1/255)
_TAIL = 8.0  # standard deviations of a Poisson count beyond which nothing is drawn
_TAGS = {name: zlib.crc32(name.encode()) for name in ("gaussian", "poisson", "sigma", FUNCTION, "fixed", "fresh")}


@dataclasses.dataclass(frozen=True, eq=False)
class Degradation:
    """What a spec says, checked; `of` makes it.

    Attributes:
        scale: sides of the clean image / sides of the image.
        trim: whether clean images are cut to multiples of the scale.
        peak: of the Poisson noise; None: none.
        sigma: (low, high) of the Gaussian noise, of 255; None: none.
        function: from outside; None: none.
        name: its dotted path.
        arguments: its keyword arguments.
    """

    scale: int = 1
    trim: bool = False
    peak: float | None = None
    sigma: tuple[float, float] | None = None
    function: Callable[..., Any] | None = None
    name: str = ""
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def is_random(self) -> bool:
        """Whether an image has more than one degraded form."""
        return self.peak is not None or self.sigma is not None or self.function is not None

    def __str__(self) -> str:
        sigma = "" if self.sigma is None else _shown(self.sigma)
        parts = {
            f"bicubic ×{self.scale}": self.scale > 1,
            f"Poisson noise of peak {self.peak:g}" if self.peak is not None else "": self.peak is not None,
            f"Gaussian noise of σ {sigma}": self.sigma is not None,
            f"{self.name}{dict(self.arguments) or ''}": self.function is not None,
        }
        return ", ".join(part for part, there in parts.items() if there) or "nothing"

    def reduced(self, clean: UInt8[np.ndarray, "*b h w c"]) -> UInt8[np.ndarray, "*b H W c"]:
        """What is not random, uint8: the clean images, `trimmed` already, reduced."""
        return clean if self.scale == 1 else bicubic.downscale(clean, self.scale)

    def trimmed(self, clean: UInt8[np.ndarray, "*b h w c"]) -> UInt8[np.ndarray, "*b H W c"]:
        """Clean images without the rows and columns, at their end, that the scale leaves over.

        Raises:
            ValueError: there are such, and they are not to be cut.
        """
        height, width = clean.shape[-3:-1]
        if height % self.scale == 0 and width % self.scale == 0:
            return clean
        if not self.trim:
            raise ValueError(
                f"degrade.bicubic.scale = {self.scale} does not divide its sides {height}×{width};"
                " degrade.bicubic.trim = True cuts them to multiples of it, as published tables do"
            )
        return clean[..., : height - height % self.scale, : width - width % self.scale, :]

    def noisy(
        self,
        words: UInt32[Array | np.ndarray, "b 2"],
        image: UInt8[Array | np.ndarray, "b h w c"],
        origin: Int[Array | np.ndarray, "b 2"] | None = None,
    ) -> Float32[Array, "b h w c"]:
        """Images in [0, 1], with noise that may leave this range.

        Args:
            words: of each example, from `fresh` or `fixed`: which noise it is.
            image: uint8, whole or a window.
            origin: row and column of the window in the whole image; None: it is whole.
        """
        origin = np.zeros((len(image), 2), np.int32) if origin is None else origin
        return jax.vmap(self._noisy)(jnp.asarray(words), jnp.asarray(image), jnp.asarray(origin))

    def _noisy(self, words: Array, image: Array, origin: Array) -> Array:
        height, width, channels = image.shape
        rows = (origin[0].astype(jnp.uint32) + jnp.arange(height, dtype=jnp.uint32))[:, None, None]
        columns = (origin[1].astype(jnp.uint32) + jnp.arange(width, dtype=jnp.uint32))[None, :, None]
        places = columns * np.uint32(channels) + jnp.arange(channels, dtype=jnp.uint32)[None, None, :]
        bits = lambda kind: threefry(_tagged(words, kind), *jnp.broadcast_arrays(rows, places))
        if self.peak is None:
            noisy = jnp.asarray(_UNIT)[image.astype(jnp.int32)]
        else:
            counts = _counts(self.peak, image, bits("poisson")[0]).astype(jnp.float32)
            noisy = _in_steps(counts * np.float32(_FINEST / self.peak))
        if self.sigma is not None:
            normal = _normal(*bits("gaussian"))
            width_of = self.sigma[0] if self.sigma[0] == self.sigma[1] else None
            scale = _scales(*self.sigma)[self._level(words) if width_of is None else 0]
            noisy = noisy + _in_steps(normal * scale)
        if self.function is not None:
            key = jax.random.wrap_key_data(_tagged(words, FUNCTION), impl="threefry2x32")
            noisy = self._from_outside(key, noisy)
        return noisy

    def _level(self, words: Array) -> Array:
        """Which of the 4,096 widths of its range an image has."""
        zero = jnp.zeros((), jnp.uint32)
        return (threefry(_tagged(words, "sigma"), zero, zero)[0] >> (32 - _BITS)).astype(jnp.int32)

    def _from_outside(self, key: Array, image: Array) -> Array:
        assert self.function is not None
        try:
            made = jnp.asarray(self.function(key, image, **self.arguments))
        except Exception as error:  # whatever a function of the user's own raises
            said = " ".join(str(error).split())
            raise ValueError(
                f"degrade.function = {self.name!r}, called with a key and an image {list(image.shape)}:"
                f" {type(error).__name__}: {said}"
            ) from error
        if made.shape != image.shape or not jnp.issubdtype(made.dtype, jnp.floating):
            raise ValueError(
                f"degrade.function = {self.name!r} gave {made.dtype} {list(made.shape)} of an image {list(image.shape)};"
                " floats of the same shape are accepted"
            )
        return made.astype(jnp.float32)


def of(spec: str | Mapping[str, Any]) -> Degradation:
    """The degradation of a spec; a dotted path alone is a function without arguments. Made once of each.

    Raises:
        ValueError: an unknown name, argument, or value; a function that cannot be imported. The message begins with
            "degrade".
    """
    if not isinstance(spec, str | Mapping):
        raise ValueError(f"degrade = {spec!r}: a mapping of {', '.join(_KNOWN)}, or a dotted path, is accepted")
    spec = {FUNCTION: {"name": spec}} if isinstance(spec, str) else spec
    for name, arguments in spec.items():
        _check_name(name, arguments)
    chosen = {name: dict(arguments) for name, arguments in spec.items() if arguments is not None}
    return _made(json.dumps(chosen, sort_keys=True, default=repr))


@functools.lru_cache(maxsize=64)
def _made(text: str) -> Degradation:
    spec = json.loads(text)
    fields: dict[str, Any] = {}
    if "bicubic" in spec:
        fields["scale"] = _whole("bicubic.scale", spec["bicubic"].get("scale"))
        fields["trim"] = spec["bicubic"].get("trim", False)
        if not isinstance(fields["trim"], bool):
            raise ValueError(f"degrade.bicubic.trim = {fields['trim']!r}: True or False is accepted")
    if "poisson" in spec:
        fields["peak"] = _number("poisson.peak", spec["poisson"].get("peak"), LARGEST_PEAK, "photons of a white pixel")
    if "gaussian" in spec:
        fields["sigma"] = _range(spec["gaussian"].get("sigma"))
    if FUNCTION in spec:
        arguments = dict(spec[FUNCTION])
        fields["name"] = arguments.pop("name", None)
        fields["function"], fields["arguments"] = _imported(fields["name"], arguments), arguments
    return Degradation(**fields)


_KNOWN: Mapping[str, tuple[str, ...] | None] = {
    "bicubic": ("scale", "trim"), "poisson": ("peak",), "gaussian": ("sigma",), FUNCTION: None,
}  # fmt: skip


def _check_name(name: str, arguments: Any) -> None:
    if name not in _KNOWN:
        raise ValueError(f"degrade has no {name!r}; there are {', '.join(_KNOWN)}")
    if arguments is None:
        return
    if not isinstance(arguments, Mapping):
        raise ValueError(f"degrade.{name} = {arguments!r}: a mapping of its arguments, or None, is accepted")
    accepted = _KNOWN[name]
    if accepted and (unknown := [key for key in arguments if key not in accepted]):
        raise ValueError(f"degrade.{name} has no argument {unknown[0]!r}; there are {', '.join(accepted)}")


def _whole(where: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= bicubic.LARGEST_SCALE:
        raise ValueError(f"degrade.{where} = {value!r}: a whole number of 1 to {bicubic.LARGEST_SCALE} is accepted")
    return value


def _number(where: str, value: Any, largest: float, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not SMALLEST <= value <= largest:
        raise ValueError(f"degrade.{where} = {value!r}: {what}, from {SMALLEST:g} to {largest:g}, is accepted")
    return float(value)


def _range(value: Any) -> tuple[float, float]:
    ends = value if isinstance(value, list | tuple) else (value, value)
    fine = len(ends) == 2 and all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
    if not fine or not 0 <= ends[0] <= ends[1] <= LARGEST_SIGMA or ends[1] < SMALLEST:
        raise ValueError(
            f"degrade.gaussian.sigma = {value!r}: a number of levels of 255, from {SMALLEST:g} to {LARGEST_SIGMA:g}, or"
            " (low, high), of which low may be 0, is accepted"
        )
    return float(ends[0]), float(ends[1])


def _imported(path: Any, arguments: Mapping[str, Any]) -> Callable[..., Any]:
    where = f"degrade.function = {path!r}"
    module, _, attribute = path.rpartition(".") if isinstance(path, str) else ("", "", "")
    if not module:
        raise ValueError(f"{where}: name, the dotted path of a function, is wanted: 'my_project.degrade.speckle'")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{where} cannot be imported: {error}") from error
    try:
        inspect.signature(function).bind(None, None, **arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}, called with a key, an image and {dict(arguments)}: {error}") from error
    return function


def difference(trained: str | Mapping[str, Any], asked: str | Mapping[str, Any]) -> str | None:
    """In words why a player trained for one degradation is none for another; None: it is.

    A blind one is for every width in its range; without noise is a width of 0.
    """
    one, other = of(trained), of(asked)
    if one.scale != other.scale:
        return f"it was trained for scale {one.scale}, here it is {other.scale}"
    had, wanted = (degradation.sigma or (0.0, 0.0) for degradation in (one, other))
    if not had[0] <= wanted[0] <= wanted[1] <= had[1]:
        return f"it was trained for Gaussian noise of σ {_shown(had)}, here it is {_shown(wanted)}"
    if one.peak != other.peak:
        shown = [f"{peak:g}" if peak is not None else "none" for peak in (one.peak, other.peak)]
        return f"it was trained for Poisson noise of peak {shown[0]}, here it is {shown[1]}"
    if (one.name, dict(one.arguments)) != (other.name, dict(other.arguments)):
        shown = [f"{of.name}{dict(of.arguments) or ''}" or "none" for of in (one, other)]
        return f"it was trained for the degradation {shown[0]}, here it is {shown[1]}"
    return None


def _shown(sigma: tuple[float, float]) -> str:
    return f"{sigma[0]:g}" if sigma[0] == sigma[1] else f"{sigma[0]:g} to {sigma[1]:g}"


def fixed(split: str, row: Integer[np.ndarray, " b"], number: Any = 0) -> UInt32[np.ndarray, "b 2"]:
    """The words of the noise of this number of each row of a split: the same for all players, seeds and evaluations."""
    first = np.asarray(number, np.int64) + zlib.crc32(split.encode()) + _TAGS["fixed"]
    row = np.asarray(row, np.int64)
    return np.stack([np.broadcast_to(first, row.shape), row], -1).astype(np.uint32)


def fresh(key: UInt32[np.ndarray, "2"], place: Integer[np.ndarray, " b"], number: int = 0) -> UInt32[np.ndarray, "b 2"]:
    """The words of the noise that a step of this key draws for the example at each place; `number` tells several apart."""
    first, second = (int(word) ^ _TAGS["fresh"] for word in key)
    place = np.asarray(place, np.int64)
    return np.stack([first + place, np.full(place.shape, second + number)], -1).astype(np.uint32)


def threefry(words: UInt32[Array, "2"], one: UInt32[Array, "*n"], two: UInt32[Array, "*n"]) -> tuple[Array, Array]:
    """Two random words of each counter (one, two), by Threefry-2x32 of 20 rounds (Salmon et al. 2011).

    Written out: `jax.random` numbers the elements of an array, and has no function of given counters.
    """
    keys = words[0], words[1], words[0] ^ words[1] ^ np.uint32(0x1BD11BDA)
    one, two = one + keys[0], two + keys[1]
    for block in range(5):
        for turn in ((13, 15, 26, 6), (17, 29, 16, 24))[block % 2]:
            one = one + two
            two = ((two << np.uint32(turn)) | (two >> np.uint32(32 - turn))) ^ one
        one = one + keys[(block + 1) % 3]
        two = two + keys[(block + 2) % 3] + np.uint32(block + 1)
    return one, two


def _in_steps(count: Array) -> Array:
    return jnp.round(count) * np.float32(1 / _FINEST)


def _tagged(words: Array, kind: str) -> Array:
    return words ^ np.array([_TAGS[kind], 0], np.uint32)


@functools.cache
def _quantiles() -> np.ndarray:
    """Quantiles of the normal distribution, of variance 1 among themselves."""
    count = 2**_BITS
    quantiles = special.ndtri((np.arange(count) + 0.5) / count)
    return (quantiles / np.sqrt(np.mean(quantiles**2))).astype(np.float32)


def _normal(one: Array, two: Array) -> Array:
    """Normal numbers, of variance `_LOOKUPS`, of two words of random bits."""
    table, mask = jnp.asarray(_quantiles()), np.uint32(2**_BITS - 1)
    places = [(word >> np.uint32(shift)) & mask for word in (one, two) for shift in (0, 32 - _BITS)]
    first, second, third, fourth = (table[place.astype(jnp.int32)] for place in places)
    return (first + second) + (third + fourth)


def _scales(low: float, high: float) -> Array:
    """What `_normal` is multiplied by, in multiples of 1/_FINEST, for each of the widths between low and high."""
    widths = np.linspace(low, high, 2**_BITS) if high > low else np.array([low])
    return jnp.asarray((widths / 255 * _FINEST / math.sqrt(_LOOKUPS)).astype(np.float32))


@functools.cache
def _thresholds(peak: float) -> tuple[np.ndarray, np.ndarray]:
    """(the smallest count of each level [256], the distribution from there on, in 2⁻³² [256, power of 2])."""
    rate = peak * np.arange(256) / 255
    first = np.maximum(0, np.floor(rate - _TAIL * np.sqrt(rate) - _TAIL)).astype(np.int32)
    longest = int(np.max(np.ceil(rate + _TAIL * np.sqrt(rate) + _TAIL) - first)) + 1
    count = 2 ** math.ceil(math.log2(longest))
    below = special.pdtr(first[:, None] + np.arange(count), rate[:, None])
    return first, np.minimum(np.floor(below * 2.0**32), 2**32 - 1).astype(np.uint32)


def _counts(peak: float, image: Array, bits: Array) -> Array:
    """Poisson counts of rate peak·level/255, by the inverse of their distribution, which a level looks up.

    A distribution that has reached 1 stands in the table as 2³² − 1, which no bits may reach: the largest are those below.
    """
    first, below = _thresholds(peak)
    count = below.shape[1]
    table, level, place = jnp.asarray(below.reshape(-1)), image.astype(jnp.int32) * count, 0
    bits, step = jnp.minimum(bits, np.uint32(2**32 - 2)), count // 2
    while step:
        place = place + step * (bits >= table[level + place + (step - 1)]).astype(jnp.int32)
        step //= 2
    return jnp.asarray(first)[image.astype(jnp.int32)] + place
