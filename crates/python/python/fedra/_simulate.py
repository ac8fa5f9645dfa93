"""Simulation of a task on arrays."""

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, cast

from fedra import _native
from fedra._arrays import Layout, Pair, by_client, pooled
from fedra._result import Result, Round
from fedra.errors import ConfigError

Table = Mapping[str, Any]


def simulate(
    task: Table | str | PathLike[str],
    data: Pair | Sequence[Pair],
    *,
    clients: int | None = None,
    partition: str | Table | None = None,
    evaluation: Pair | None = None,
    seed: int = 1,
    devices: Table | None = None,
    attack: Table | Sequence[Table] = (),
    target: float | None = None,
    evaluate_every: int = 1,
    time: str | None = None,
    threads: int | None = None,
    layout: Layout = "channels-first",
    out: str | PathLike[str] | None = None,
    resume: bool = False,
    progress: Callable[[Round], object] | None = None,
) -> Result:
    """Runs a whole task on virtual time, with real training.

    The keys of `task`, `partition`, `devices` and `attack` are those of the tables `[task]`,
    `[data] partition`, `[devices]` and `[[attack]]` of an experiment's file:
    docs/SIMULATION.md and docs/OPERATIONS.md describe them.

    Args:
        task: The task: a table, or the path of a TOML file with one.
        data: A pair (x, y) of all clients together, or a list with a pair for each client. x is
            [examples, features], [examples, height, width] or [examples, channels, height,
            width], or token ids [examples, positions]; values are taken as they are. y has a
            class number for each example, or the values that the model learns.
        clients: Clients that share a pair (x, y); with a list, its length.
        partition: Who gets which examples of a pair: "iid" by default, or a table such as
            {"kind": "dirichlet", "alpha": 0.5}. A list has none.
        evaluation: Held-out examples (x, y) that each model is evaluated on.
        seed: Seed of partition, devices, selection and noise; also of the initial model and of
            local training, unless the task has a seed of its own.
        devices: Speed, links and availability of the devices.
        attack: Clients that do not do what they should.
        target: Value of the first metric at which the simulation ends.
        evaluate_every: Rounds from one evaluation to the next.
        time: Longest simulated time, such as "2h".
        threads: Threads that train; as many as there are cores without it. They change nothing
            but the time.
        layout: Order of the values of images, "channels-first" or "channels-last".
        out: Folder for rounds.csv, result.json and report.html.
        resume: Keeps the task's store in `out`, and goes on from it if it is there.
        progress: Called with each round once its figures are there; it ends the simulation by
            returning something true.

    Returns:
        The rounds and the last model.

    Raises:
        ConfigError: A setting is wrong.
        DataError: The arrays are no data set, or none for this task and partition.
        SimulationError: The task cannot go on.
        KeyboardInterrupt: Between two rounds, after Ctrl-C.
    """
    table, folder = _task(task)
    settings: dict[str, Any] = {"task": {"seed": seed, **table}}
    sizes = None
    if _is_pooled(data):
        if clients is None:
            raise ConfigError("clients is missing: how many share the examples?")
        training = pooled(cast(Pair, data), "data", layout)
        settings["data"] = {"partition": _partition(partition)}
    else:
        training, sizes = by_client(cast(Sequence[Pair], data), layout)
        if partition is not None:
            raise ConfigError("data is divided among clients already: leave out partition")
        if clients not in (None, len(sizes)):
            raise ConfigError(f"clients is {clients}, and data has {len(sizes)}: leave it out")
        clients = len(sizes)
    if target is not None and evaluation is None and "evaluation" not in table:
        raise ConfigError("target needs held-out examples: give evaluation=(x, y)")
    simulation = {
        "clients": clients,
        "seed": seed,
        "evaluate_every": evaluate_every,
        "target": target,
        "time": time,
        "threads": threads,
    }
    settings["simulation"] = {key: of for key, of in simulation.items() if of is not None}
    settings["devices"] = devices or {}
    settings["attack"] = [attack] if isinstance(attack, Mapping) else list(attack)
    held_out = None if evaluation is None else pooled(evaluation, "evaluation", layout)
    tell = progress or (lambda _: None)
    run = _native.run(
        json.dumps(settings, default=_plain),
        folder,
        training,
        sizes,
        held_out,
        None if out is None else Path(out),
        resume,
        lambda figures: tell(Round(*figures)),
    )
    return Result._of(run)


def _task(task: Table | str | PathLike[str]) -> tuple[Table, Path]:
    """The task's table, and the folder that its paths are relative to."""
    if isinstance(task, Mapping):
        return task, Path()
    path = Path(task)
    try:
        file = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the task: {path}: {error}") from error
    if "simulation" in file:
        raise ConfigError(
            f"{path} is a whole experiment: run it with fedra-simulate, or give its [task] alone"
        )
    table = file.get("task", file)
    tables = table if isinstance(table, list) else [table]
    if len(tables) != 1 or not isinstance(tables[0], dict):
        raise ConfigError(f"{path} must have one task; it has {len(tables)}")
    return tables[0], path.parent


def _is_pooled(data: Pair | Sequence[Pair]) -> bool:
    """True for a pair of arrays, false for pairs in a list."""
    return isinstance(data, tuple) and len(data) == 2 and not isinstance(data[0], tuple)


def _partition(partition: str | Table | None) -> Table:
    if isinstance(partition, Mapping):
        return partition
    return {"kind": "iid" if partition is None else partition}


def _plain(value: Any) -> Any:
    """Numbers and arrays of NumPy, and paths, as JSON has them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, PathLike):
        return fspath(value)
    raise ConfigError(f"{value!r} is no value of a setting")
