"""Types of the native module."""

from collections.abc import Callable
from pathlib import Path

from fedra._arrays import Arrays

Figures = tuple[
    int, float, int, int, int, int, int, float | None, float | None, float | None
]

class Run:
    rounds: list[Figures]
    metric: str
    reached: bool
    sha256: str
    safetensors: bytes
    wall_seconds: float
    def report(self, folder: Path) -> Path: ...

def run(
    settings: str,
    folder: Path,
    training: Arrays,
    sizes: list[int] | None,
    held_out: Arrays | None,
    out: Path | None,
    resume: bool,
    tell: Callable[[Figures], object],
) -> Run: ...
def epsilon(
    noise_multiplier: float, rounds: int, delta: float, sampling_rate: float
) -> float: ...
def noise(epsilon: float, rounds: int, delta: float, sampling_rate: float) -> float: ...
