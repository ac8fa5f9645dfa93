"""Results of a simulation."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from fedra import _native


class Round(NamedTuple):
    """Figures of a round."""

    round: int
    """Its number, from 1."""
    seconds: float
    """Simulated time from the start to its model."""
    cohort: int
    """Clients that were invited."""
    reports: int
    """Updates in its mean."""
    weight: int
    """Their weight: examples, unless the task has a privacy policy."""
    bytes_up: int
    """Bytes from clients since the round before."""
    bytes_down: int
    """Bytes to clients, models included."""
    loss: float | None
    """Loss on the held-out examples, if the model was evaluated."""
    metric: float | None
    """The task's first metric on them, such as accuracy."""
    epsilon: float | None
    """Epsilon spent so far, under a privacy policy."""


_WHOLE = ("round", "cohort", "reports", "weight", "bytes_up", "bytes_down")


class Rounds(Sequence[Round]):
    """The rounds, oldest first: by number, or by the name of a column."""

    def __init__(self, rounds: Iterable[Round]) -> None:
        self._rounds = tuple(rounds)

    def __len__(self) -> int:
        return len(self._rounds)

    @overload
    def __getitem__(self, which: int) -> Round: ...
    @overload
    def __getitem__(self, which: slice) -> "Rounds": ...
    @overload
    def __getitem__(self, which: str) -> NDArray[Any]: ...
    def __getitem__(self, which: int | slice | str) -> "Round | Rounds | NDArray[Any]":
        """The round of an index, some of them, or a column as an array, NaN where it is None."""
        if isinstance(which, str):
            if which not in Round._fields:
                raise KeyError(f"{which!r}; the columns are {', '.join(Round._fields)}")
            values = [getattr(of, which) for of in self._rounds]
            return np.array(values, dtype=np.int64 if which in _WHOLE else np.float64)
        if isinstance(which, slice):
            return Rounds(self._rounds[which])
        return self._rounds[which]

    def columns(self) -> dict[str, NDArray[Any]]:
        """All columns by name."""
        return {name: self[name] for name in Round._fields}

    def to_pandas(self) -> Any:
        """A pandas DataFrame with a row for each round; needs pandas."""
        import pandas  # type: ignore[import-untyped]

        return pandas.DataFrame(self.columns()).set_index("round")

    def __repr__(self) -> str:
        return f"<{len(self)} rounds>"


@dataclass(frozen=True)
class Result:
    """Result of a simulation."""

    rounds: Rounds
    """Figures of the rounds, oldest first."""
    metric: str
    """Name of the task's first metric, which `Round.metric` has."""
    reached: bool
    """True if the target was reached."""
    sha256: str
    """Hash of the last model, as the server stores it: equal hashes are equal bits."""
    wall_seconds: float
    """Seconds that the simulation took."""
    safetensors: bytes = field(repr=False)
    """The last model as a safetensors file with the names and the orientation of PyTorch."""
    _run: _native.Run = field(repr=False)

    @classmethod
    def _of(cls, run: _native.Run) -> "Result":
        rounds = Rounds(Round(*figures) for figures in run.rounds)
        return cls(
            rounds, run.metric, run.reached, run.sha256, run.wall_seconds, run.safetensors, run
        )

    @cached_property
    def model(self) -> dict[str, NDArray[np.float32]]:
        """Tensors of the last model by name, as in a PyTorch state_dict of its layers."""
        return _tensors(self.safetensors)

    def report(self, folder: str | PathLike[str]) -> Path:
        """Writes rounds.csv, result.json and report.html; returns the path of the page."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return self._run.report(folder)


def _tensors(file: bytes) -> dict[str, NDArray[np.float32]]:
    """The float32 tensors of a safetensors file, layer by layer."""
    data = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:data])
    header.pop("__metadata__", None)
    tensors = {}
    for name in sorted(header, key=_layers):
        begin, end = header[name]["data_offsets"]
        values = np.frombuffer(file, "<f4", (end - begin) // 4, data + begin)
        tensors[name] = values.reshape(header[name]["shape"]).copy()
    return tensors


def _layers(name: str) -> list[tuple[bool, int, str]]:
    """Key by which tensors come in the order of their layers."""
    parts = name.split(".")
    return [(False, int(p), "") if p.isdigit() else (True, 0, p) for p in parts]
