"""How often the 95 % intervals hold the truth: simulated studies whose true figures are known, drawn again and again.

Each question has an ability and a length of its own, its rollouts scatter around them, and a variant is correlated with
its base through the question. Intervals come from `scoring.stats` as the marts take them. Exit code 1: some setting is
held in less than 93 % or more than 97 % of the repetitions.

    python bench/coverage.py [--repetitions 1000] [--resamples 10000] [--questions 200 1000] [--seed 0]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbt_assets.scoring.aes import aes
from mbt_assets.scoring.stats import RESAMPLES, Bootstrap

LOWEST, HIGHEST = 0.93, 0.97
ROLLOUTS = 8

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], list[Array]]


@dataclass(frozen=True)
class Setting:
    """A figure whose truth is known.

    Attributes:
        name: what it is a figure of.
        truth: its true value.
        draw: one value per question and column, of so many questions.
        of_means: the figure, from the means of the columns.
    """

    name: str
    truth: float
    draw: Draw
    of_means: Callable[..., Array]


def ability(rng: np.random.Generator, n: int, mean: float) -> Array:
    """Chances to be right, one per question: some questions nearly always, others hardly ever."""
    return rng.beta(2 * mean, 2 * (1 - mean), n)


def right(rng: np.random.Generator, chances: Array, rollouts: int = ROLLOUTS) -> Array:
    """The share of right rollouts of each question."""
    return rng.binomial(rollouts, chances) / rollouts


def lengths(rng: np.random.Generator, question: Array, mean: float, rollouts: int = ROLLOUTS) -> Array:
    """Mean tokens of each question's rollouts, lognormal around its own lognormal length (`question`: standard normal).

    Of all the scatter on the log scale, 0.6, the question makes up 0.5; the true mean is `mean`.
    """
    between, within = 0.5, np.sqrt(0.6**2 - 0.5**2)
    scattered = between * question[:, np.newaxis] + within * rng.standard_normal((len(question), rollouts))
    return mean * np.exp(scattered - (between**2 + within**2) / 2).mean(axis=1)


def levels(rng: np.random.Generator, mean: float, n: int) -> Array:
    """Mean observed level (0 to 5) of each question's rollouts."""
    return rng.binomial(5, mean / 5, (n, ROLLOUTS)).mean(axis=1)


def rate(mean: float, rollouts: int) -> Setting:
    def draw(rng: np.random.Generator, n: int) -> list[Array]:
        return [right(rng, ability(rng, n, mean), rollouts)]

    return Setting(f"rate {mean}, rollouts: {rollouts}", mean, draw, lambda share: share)


def tokens(rollouts: int) -> Setting:
    def draw(rng: np.random.Generator, n: int) -> list[Array]:
        return [lengths(rng, rng.standard_normal(n), 1000, rollouts)]

    return Setting(f"lognormal tokens, rollouts: {rollouts}", 1000, draw, lambda mean: mean)


def paired_rate() -> Setting:
    """The variant turns a fifth of what its base has wrong into right."""

    def draw(rng: np.random.Generator, n: int) -> list[Array]:
        base = ability(rng, n, 0.6)
        return [right(rng, base + 0.2 * (1 - base)), right(rng, base)]

    return Setting("paired difference of rates", 0.2 * 0.4, draw, np.subtract)


def paired_tokens() -> Setting:
    def draw(rng: np.random.Generator, n: int) -> list[Array]:
        question = rng.standard_normal(n)
        return [lengths(rng, question, 700), lengths(rng, question, 1000)]

    return Setting("paired difference of tokens", -300, draw, np.subtract)


def aes_of(mean: float, base_mean: float) -> Setting:
    """AES of a variant in two thirds of the tokens; its ability goes with that of its base."""

    def draw(rng: np.random.Generator, n: int) -> list[Array]:
        base, question = ability(rng, n, base_mean), rng.standard_normal(n)
        own = base * mean / base_mean if mean < base_mean else base + (1 - base) * (mean - base_mean) / (1 - base_mean)
        return [right(rng, own), lengths(rng, question, 800), right(rng, base), lengths(rng, question, 1200)]

    truth = float(aes(np.array([mean]), np.array([800.0]), np.array([base_mean]), np.array([1200.0]))[0])
    return Setting(f"AES, accuracy {base_mean} to {mean}", truth, draw, aes)


def mqi_gain() -> Setting:
    """What MQI gains on its base: mean level x base tokens / tokens - base level."""

    def draw(rng: np.random.Generator, n: int) -> list[Array]:
        question = rng.standard_normal(n)
        own, base = levels(rng, 3.5, n), levels(rng, 2.0, n)
        return [own, lengths(rng, question, 800), base, lengths(rng, question, 1200)]

    def gain(level: Array, length: Array, base_level: Array, base_length: Array) -> Array:
        return level * base_length / length - base_level

    return Setting("MQI gained on the base", 3.5 * 1200 / 800 - 2.0, draw, gain)


def settings() -> list[Setting]:
    """All of them."""
    rates = [rate(mean, rollouts) for mean in (0.1, 0.5, 0.9) for rollouts in (1, ROLLOUTS)]
    composite = [aes_of(0.7, 0.5), aes_of(0.9, 0.8), aes_of(0.4, 0.5), mqi_gain()]
    return [*rates, tokens(1), tokens(ROLLOUTS), paired_rate(), paired_tokens(), *composite]


def coverage(setting: Setting, n: int, repetitions: int, bootstrap: Bootstrap, seed: int) -> float:
    """The share of repetitions whose interval holds the truth.

    The bootstrap draws the same resamples in each of them, as it does for each cell of a study; the data are new.
    """
    rng = np.random.default_rng([seed, n])
    drawn = [(setting.draw(rng, n), setting.of_means) for _ in range(repetitions)]
    found = bootstrap.each(drawn)
    return float(np.mean([ends is not None and ends.lo <= setting.truth <= ends.hi for ends in found]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("--questions", type=int, nargs="+", default=[200, 1000])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    repeated, resamples = arguments.repetitions, arguments.resamples
    bootstrap = Bootstrap(resamples)
    print(f"{repeated:,} repetitions, {resamples:,} resamples: share of intervals that hold the truth")
    print(f"{'figure':32} {'truth':>9} " + " ".join(f"{n:>7,}" for n in arguments.questions) + "  questions")
    outside = 0
    for setting in settings():
        shares = [coverage(setting, n, repeated, bootstrap, arguments.seed) for n in arguments.questions]
        outside += sum(not LOWEST <= share <= HIGHEST for share in shares)
        print(f"{setting.name:32} {setting.truth:9.3f} " + " ".join(f"{share:7.3f}" for share in shares), flush=True)
    if outside:
        sys.exit(f"{outside} outside {LOWEST} to {HIGHEST}")


if __name__ == "__main__":
    main()
