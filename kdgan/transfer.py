"""A smaller network's first parameters from those of a wider, trained one: units and blocks selected, layers factorised.

Weight selection (Xu et al. 2024, "Initializing Models with Larger Ones"): along each axis of W entries a network that
has N <= W takes the entries

    i -> ⌊i·W/N⌋,  i = 0 .. N − 1,

a function of the two sizes alone. So all axes that a wide network links (a layer's output, its bias, its batch norm,
the two sides of a residual sum, the next layer's input) choose the same units without being told that they are linked.
That holds through a reshape between [h, w, C] and h·w·C too: with c of C channels kept at each of s pixels, unit
s·c + j of the narrow dense layer takes

    ⌊(s·c + j)·(h·w·C)/(h·w·c)⌋ = s·C + ⌊j·C/c⌋,

channel ⌊j·C/c⌋ of the same pixel, which is what the convolution before it keeps; and through a concatenation whose
parts all shrink by the same factor. (The paper's code rounds W/N-spaced points where N does not divide W, which may
step past the end; where it does, both rules are one.) What belongs to the data, the image's channels and the classes, should
be of one size in both networks: fewer classes would be picked as if they were units. A network with more classes than the
one that it starts from grows its head: `how="grow"`, by `kdgan/growth.py`.

A student of the same widths whose layers are thin (`dense1` replaced by `dense1_a`, then `dense1_b`) starts from the
best approximation of each layer instead: `how="low_rank"`, by `factorise`.

What is selected is a function only of shapes, so that everything here works while tracing, under `vmap` over members,
and is differentiable with respect to the wide parameters.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from kdgan.growth import grow

Tree = Any  # a pytree of arrays
Path = tuple[str, ...]


def uniform(wide: int, narrow: int) -> np.ndarray:
    """⌊i·W/N⌋ for i = 0 .. N − 1: evenly spaced, the first entry always among them."""
    return np.arange(narrow) * wide // narrow


def first(wide: int, narrow: int) -> np.ndarray:
    """The leading N of W. Linked axes agree, except through a reshape of more than one pixel, or a shortcut that puts zeros
    before the channels (`ResNet(shortcut="A")`): there only `uniform`.
    """
    return np.arange(narrow)


SELECTIONS: Mapping[str, Callable[[int, int], np.ndarray]] = {"uniform": uniform, "first": first}
_HOW = (*SELECTIONS, "low_rank", "grow")
_MISSING = ("refuse", "fresh")


def transfer(
    wide: Tree, like: Tree, *, how: str = "uniform", depth: str = "uniform", scale: float = 0.0, missing: str = "refuse"
) -> Tree:
    """Parameters for the network that `like` belongs to, each selected from the leaf of `wide` at the same path.

    Blocks. A path whose names end in numbers (`stage2/block3/conv1`) is matched block by block: where, inside one
    parent, the numbered names of a stem run from the same first number without a gap in both trees and `like` has
    n < W of them, its i-th takes block ⌊i·W/n⌋ ("uniform") or i ("first", the paper's choice), counted from 0. The
    first block is thus always kept, for it is the special one (a ResNet's stage strides and projects there); the last
    is not. In a residual network every block refines the same features and so any choice fits; in a plain one
    (`dense1`, `dense2`, ...) a block then reads features that it was not trained on, and the result is only a start.

    Axes. Inside a block each axis is selected by `how`, except the window of an image convolution (the first two axes
    of a `kernel` [h, w, i, o]), which is cut about its centre: exact under padding "SAME" where the rim is zero.

    Scale. With fewer inputs the sums that a layer takes are smaller. Each `kernel`, of `nn.Dense` [i, o], `nn.Conv`
    and `nn.ConvTranspose` [..., i, o], is multiplied by (W_i/N_i)^p along that input axis: p = 0 is plain selection,
    p = ½ keeps the variance of sums over independent units, p = 1 keeps sums over units that occur several times.
    A trained network's units are nearer to independent: on the digits with 50 labels, started from a network trained
    on all rows, accuracy after 400 steps was 0.806 from random, 0.860 (p = 0), 0.878 (½) and 0.863 (1) for an MLP
    256-128 -> 64-32, and 0.761, 0.794, 0.799 and 0.676 for a CNN of a quarter of its channels (means of 5 seeds).
    Biases, embeddings, batch norm's scales and averages have no input axis: they are selected as they stand, and so
    the averages, taken of the wide network's sums, fit p = 1 best until training renews them. (A layer that takes
    several axes in or out at once, as attention's projections do, is selected soundly, but scale it by p = 0 only.)

    Low rank. With `how="low_rank"` each layer X of the wide network that `like` has as two, `X_a` (a kernel alone) and
    `X_b` (a kernel with a window of one pixel, and the bias), is filled by `factorise`, with the rank that the two
    have; where their outer axes are narrower than X's too, X is first selected ("uniform"), as is all else. A network
    that has no such pair is refused: one with a nonlinearity between its layers cannot be narrowed by a change of
    basis.

    Mutable collections go by the same rule. Give whole variables, `{"params": ..., "batch_stats": ...}`, where
    blocks are selected and some have no statistics: blocks are then counted over all collections together.

    Args:
      wide: the wide network's parameters, or variables: a nested mapping of arrays (JAX's or NumPy's).
      like: the narrow network's, freshly initialised, or as `jax.ShapeDtypeStruct`s.
      how: which units: "uniform" or "first"; or "low_rank"; "grow": `wide` is the smaller one, with fewer classes, and
        `depth`, `scale` and `missing` are left at their defaults.
      depth: which blocks: "uniform" or "first".
      scale: p, any finite number.
      missing: what a path of `like` without a counterpart in `wide` does: "refuse", or "fresh" to keep its own value.

    Returns:
      A tree of `like`'s structure, shapes and dtypes. Nothing in it shares memory with `wide`.

    Raises:
      ValueError: unknown `how`, `depth` or `missing`, or `scale` not finite; a path has no counterpart (or keeps its
        value and has none), none has one, or one has another rank or an axis larger than the wide network's: the path
        and both shapes are named; no layer, or an ill-formed one, is two factors where `how` is "low_rank".
    """
    for argument, value, accepted in (
        ("how", how, _HOW),
        ("depth", depth, tuple(SELECTIONS)),
        ("missing", missing, _MISSING),
    ):
        if value not in accepted:
            raise ValueError(f"{argument} is {value!r}; it accepts {', '.join(map(repr, accepted))}")
    if not math.isfinite(scale):
        raise ValueError(f"scale is {scale}; it must be a finite number, e.g. 0, 0.5 or 1")
    if how == "grow":
        if (depth, scale, missing) != ("uniform", 0.0, "refuse"):
            raise ValueError(f"how is 'grow', which selects nothing; leave out depth, scale (= {scale:g}) and missing")
        return grow(wide, like)
    if how == "low_rank":
        whole, pairs = _merge(like, values=missing == "fresh")
        if not pairs:
            raise ValueError(
                "how is 'low_rank', but the narrow network has no layer as two factors NAME_a and NAME_b;"
                " 'uniform' and 'first' select units"
            )
        filled = transfer(wide, whole, depth=depth, scale=scale, missing=missing)
        return jax.tree.unflatten(jax.tree.structure(like), jax.tree.leaves(_split(filled, like)))
    select, choose = SELECTIONS[how], SELECTIONS[depth]
    given = {_names(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(wide)}
    wanted = {_names(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(like)}
    sources = _sources(wanted, given, choose)
    if wanted and not any(source in given for source in sources.values()):
        raise ValueError(
            f"no path of the narrow network, as {'/'.join(next(iter(wanted)))}, is one of the wide network, as"
            f" {'/'.join(next(iter(given), ('none',)))}: both must name their layers alike"
        )

    def fill(path, leaf):
        name, source = _names(path), sources[_names(path)]
        if source in given:
            return _slice("/".join(name), given[source], leaf, select, scale if name[-1] == "kernel" else 0.0)
        if missing == "fresh" and not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        raise ValueError(
            f"{'/'.join(name)} {tuple(leaf.shape)} has no counterpart {'/'.join(source)} in the wide network"
            + (": it is a shape without a value to keep" if missing == "fresh" else "; missing='fresh' keeps its value")
        )

    return jax.tree_util.tree_map_with_path(fill, like)


def factorise(kernel: Float[Array, "*window i o"], rank: int) -> tuple[Array, Array]:
    """The best two thin kernels for one: K ≈ A·B by the truncated singular value decomposition.

    With K = U·Σ·Vᵀ, as a matrix of all inputs (h·w·i) by o outputs, A = U_r·Σ_r^½ and B = Σ_r^½·V_rᵀ. No other pair
    of this rank is nearer in the Frobenius norm (Eckart and Young 1936): ‖K − A·B‖² = Σ_{j>r} σ_j², so the pair is
    exact where r reaches K's rank. The root of Σ goes to each side, so that both factors train at one pace. For a
    convolution A is one of the same window, stride and padding to r channels, and B is 1×1 (Zhang et al. 2016).

    Args:
      kernel: [i, o], [h, w, i, o], or any other window; of at least float32 (narrower floats are widened).
      rank: r in 1 .. min(h·w·i, o).

    Returns:
      [h, w, i, r] and [1, 1, r, o]; for a dense kernel [i, r] and [r, o].

    Raises:
      ValueError: a rank outside that range.
    """
    *window, inputs, outputs = kernel.shape
    matrix = kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32)).reshape(-1, outputs)
    if not 1 <= rank <= min(matrix.shape):
        raise ValueError(
            f"rank is {rank}; for a kernel of shape {tuple(kernel.shape)} it accepts 1 to {min(matrix.shape)}"
        )
    u, sigma, v = jnp.linalg.svd(matrix, full_matrices=False)
    root = jnp.sqrt(sigma[:rank])
    a, b = u[:, :rank] * root[None, :], root[:, None] * v[:rank]
    return a.reshape(*window, inputs, rank), b.reshape(*(1 for _ in window), rank, outputs)


def _names(path) -> Path:
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


def _sources(like: Iterable[Path], wide: Iterable[Path], choose) -> dict[Path, Path]:
    """Path in the narrow network -> path in the wide one, whether or not there is something."""
    # In whole variables the first name is the collection's; modules are named after it.
    skip = int(all(any(path[:1] == ("params",) for path in paths) for paths in (like, wide)))
    mine, theirs = _children(like, skip), _children(wide, skip)
    found = {}
    for path in like:
        source = path[:skip]
        for i in range(skip, len(path)):
            names = theirs.get(source[skip:], set())
            source += (_counterpart(path[i], mine[path[skip:i]], names, choose),)
        found[path] = source
    return found


def _children(paths: Iterable[Path], skip: int) -> dict[Path, set[str]]:
    """Module path -> names of what is directly inside it, over all collections."""
    found: dict[Path, set[str]] = {}
    for path in paths:
        for i in range(skip, len(path)):
            found.setdefault(path[skip:i], set()).add(path[i])
    return found


def _counterpart(name: str, mine: set[str], theirs: set[str], choose) -> str:
    """The name in `theirs` that stands for `name` in `mine`: its own, or for one of fewer blocks the chosen block's."""
    match = re.fullmatch(r"(.*?)(\d+)", name)
    if match is None:
        return name
    narrow, wide = _blocks(match[1], mine), _blocks(match[1], theirs)
    if not 0 < len(narrow) < len(wide) or min(narrow) != min(wide):
        return name
    if any(max(blocks) - min(blocks) >= len(blocks) for blocks in (narrow, wide)):
        return name
    position = int(match[2]) - min(narrow)
    return wide[min(wide) + int(choose(len(wide), len(narrow))[position])]


def _blocks(stem: str, names: set[str]) -> dict[int, str]:
    """Number -> name, of the names that are this stem and a number."""
    return {int(name[len(stem) :]): name for name in names if re.fullmatch(re.escape(stem) + r"\d+", name)}


def _pairs(tree: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Layer -> its two factors' names, of those directly inside `tree`."""
    layers = [name.removesuffix("_a") for name, value in tree.items() if name.endswith("_a") and _is_layer(value)]
    return {x: (f"{x}_a", f"{x}_b") for x in layers if x not in tree and _is_layer(tree.get(f"{x}_b"))}


def _is_layer(value: Any) -> bool:
    return isinstance(value, Mapping) and "kernel" in value


def _merge(tree: Tree, *, values: bool, path: str = "") -> tuple[Tree, int]:
    """(`tree` with each pair of factors as the one layer that they stand for, how many there were).

    Its kernel is their product where `values` are wanted and there, else a shape.
    """
    if not isinstance(tree, Mapping):
        return tree, 0
    pairs = _pairs(tree)
    found: dict[str, Any] = {}
    count = len(pairs)
    for layer, (a, b) in pairs.items():
        left, right = tree[a]["kernel"], tree[b]["kernel"]
        fits = (
            len(left.shape) == len(right.shape) and right.shape[:-1] == (1,) * (len(left.shape) - 2) + left.shape[-1:]
        )
        if set(tree[a]) != {"kernel"} or not fits:
            raise ValueError(
                f"{path}{a} with {', '.join(tree[a])}, kernel {tuple(left.shape)}, and {path}{b}, kernel"
                f" {tuple(right.shape)}, are no two factors: these are [..., i, r] without a bias and [1, ..., r, o]"
            )
        shape = (*left.shape[:-1], right.shape[-1])
        kernel: Any = jax.ShapeDtypeStruct(shape, left.dtype)
        if values and not isinstance(left, jax.ShapeDtypeStruct):
            kernel = jnp.tensordot(left, right.reshape(right.shape[-2:]), 1)
        found[layer] = {**tree[b], "kernel": kernel}
    factors = {name for names in pairs.values() for name in names}
    for name, value in tree.items():
        if name not in factors:
            found[name], inside = _merge(value, values=values, path=f"{path}{name}/")
            count += inside
    return found, count


def _split(filled: Tree, like: Tree) -> Tree:
    """The inverse of `_merge`: every merged layer of `filled` factorised into the shapes that `like` has."""
    if not isinstance(like, Mapping):
        return filled
    found: dict[str, Any] = {}
    for layer, (a, b) in _pairs(like).items():
        factors = factorise(filled[layer]["kernel"], like[a]["kernel"].shape[-1])
        left, right = (factor.astype(like[name]["kernel"].dtype) for name, factor in zip((a, b), factors, strict=True))
        found |= {a: {"kernel": left}, b: {**filled[layer], "kernel": right}}
    return {name: found[name] if name in found else _split(filled[name], like[name]) for name in like}


def _slice(path: str, wide, like, select, scale: float):
    """The entries of `wide` that fill `like`'s shape, in its dtype, as a new array."""
    have, want = tuple(wide.shape), tuple(like.shape)
    if len(have) != len(want) or any(n > w for w, n in zip(have, want, strict=True)):
        raise ValueError(
            f"{path} has shape {want} in the narrow network and {have} in the wide one; it accepts"
            " the same rank and no axis larger than the wide network's"
        )
    window = 2 if len(want) == 4 and path.split("/")[-1] == "kernel" else 0
    # A host array is cut on the host: no program is compiled for each shape.
    numpy = np if isinstance(wide, np.ndarray) else jnp
    value = wide
    for axis, (w, n) in enumerate(zip(have, want, strict=True)):
        if n < w:
            indices = (w - 1) // 2 - (n - 1) // 2 + np.arange(n) if axis < window else select(w, n)
            value = numpy.take(value, indices, axis=axis)
    if scale and len(want) > 1 and want[-2] < have[-2]:
        value = value * (have[-2] / want[-2]) ** scale
    # A copy, for a step donates its parameters' memory, and the wide network may live in the same state.
    return jnp.array(value, like.dtype)
