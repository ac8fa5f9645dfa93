"""Experiments of federated learning on NumPy arrays.

The server, the clients and the privacy mechanisms are those that run in production; only
sockets, the clock and the devices' speed are made up. One seed is one result, to the bit.

    result = fedra.simulate(task, (x, y), clients=100, evaluation=(x_test, y_test))
    print(result.rounds[-1].metric, result.model["0.weight"].shape)
"""

from importlib.metadata import version

from fedra import privacy
from fedra._result import Result, Round, Rounds
from fedra._simulate import simulate
from fedra.errors import ConfigError, DataError, Error, SimulationError

__all__ = [
    "ConfigError",
    "DataError",
    "Error",
    "Result",
    "Round",
    "Rounds",
    "SimulationError",
    "privacy",
    "simulate",
]
__version__ = version("fedra")
