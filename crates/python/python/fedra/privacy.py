"""Costs of Gaussian noise in epsilon and delta.

Two data sets are adjacent if one of them has the contribution of one participant more. Everything
rounds towards the larger epsilon. Sampling counts only if the cohort is really drawn so and kept
secret: tasks of Fedra claim none, and their own figure is `Round.epsilon`.
"""

from fedra import _native

__all__ = ["epsilon", "noise"]


def epsilon(
    noise_multiplier: float,
    *,
    rounds: int = 1,
    delta: float,
    sampling_rate: float = 1.0,
) -> float:
    """Least epsilon of some rounds, each with Gaussian noise.

    Args:
        noise_multiplier: Standard deviation of the noise on the sum, over the clipping norm.
        rounds: Rounds that the participant may be in; with sampling, all rounds.
        delta: Probability with which epsilon may be passed, above 0 and below 1.
        sampling_rate: Probability of being in a round, of each participant by itself (Poisson
            sampling). At 1 the account is exact, below by the distribution of the privacy loss.

    Raises:
        ConfigError: A number is out of its range.
    """
    return _native.epsilon(noise_multiplier, rounds, delta, sampling_rate)


def noise(
    epsilon: float,
    *,
    rounds: int = 1,
    delta: float,
    sampling_rate: float = 1.0,
) -> float:
    """Smallest noise multiplier, to a millionth, with which the rounds cost at most epsilon.

    The other arguments are those of `fedra.privacy.epsilon`.

    Raises:
        ConfigError: A number is out of its range, or no noise is enough.
    """
    return _native.noise(epsilon, rounds, delta, sampling_rate)
