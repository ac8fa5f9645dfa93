"""Arrays in the form in which the native module copies them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedra.errors import DataError

Layout = Literal["channels-first", "channels-last"]
Pair = tuple[ArrayLike, ArrayLike]


@dataclass(frozen=True)
class Arrays:
    """Examples and labels, contiguous."""

    features: NDArray[np.float32] | NDArray[np.uint32]
    labels: NDArray[np.float32]
    shape: list[int]
    layout: str


def pooled(data: Pair, name: str, layout: Layout) -> Arrays:
    """The arrays of one data set."""
    return _arrays(*_pair(data, name), name, layout)


def by_client(data: Sequence[Pair], layout: Layout) -> tuple[Arrays, list[int]]:
    """The arrays of all clients one after the other, and the examples of each."""
    if len(data) == 0:
        raise DataError("data has no client: give a pair (x, y) for each")
    pairs = [_pair(pair, f"data[{client}]") for client, pair in enumerate(data)]
    first_x, first_y = pairs[0]
    for client, (x, y) in enumerate(pairs):
        if (x.shape[1:], y.shape[1:]) != (first_x.shape[1:], first_y.shape[1:]):
            raise DataError(
                f"the clients' examples differ in shape: {first_x.shape[1:]} with labels "
                f"{first_y.shape[1:]} at client 0, {x.shape[1:]} with labels {y.shape[1:]} at "
                f"client {client}"
            )
    x = np.concatenate([x for x, _ in pairs])
    y = np.concatenate([y for _, y in pairs])
    return _arrays(x, y, "data", layout), [len(x) for x, _ in pairs]


def _pair(data: Pair, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        x, y = data
    except (TypeError, ValueError):
        raise DataError(f"{name} must be a pair (x, y) of arrays") from None
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        raise DataError(
            f"x and y of {name} must have the same first dimension, the examples; their shapes "
            f"are {x.shape} and {y.shape}"
        )
    return x, y


def _arrays(x: NDArray[Any], y: NDArray[Any], name: str, layout: Layout) -> Arrays:
    for array, part in ((x, "x"), (y, "y")):
        if array.dtype.kind not in "biuf":
            raise DataError(f"{part} of {name} has the dtype {array.dtype}; give numbers")
    # Whole numbers may be token ids: the native module knows what the model takes.
    is_whole = x.dtype.kind in "iu" and x.size > 0 and 0 <= x.min() and x.max() < 2**32
    with np.errstate(over="ignore"):
        labels = np.ascontiguousarray(y, np.float32)
        if is_whole:
            return Arrays(np.ascontiguousarray(x, np.uint32), labels, list(x.shape), layout)
        return Arrays(np.ascontiguousarray(x, np.float32), labels, list(x.shape), layout)
