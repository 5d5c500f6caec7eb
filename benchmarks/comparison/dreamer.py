"""DreamerV3 in the comparison: a recurrent state-space model of another library, sheeprl.

    robot-room benchmark --algorithm dreamer=benchmarks.comparison.dreamer:make

sheeprl needs another moviepy than this project, and so has a virtual environment of its own.
"""

from optuna.distributions import CategoricalDistribution, FloatDistribution

from benchmarks.comparison.sheeprl_dreamer import Setting
from benchmarks.engine.elsewhere import Elsewhere

REQUIREMENTS = ("sheeprl==0.8.4", "torch==2.13.0", "gymnasium==1.4.0", "numpy==2.4.6")
"""The last three as this project pins them."""

SPACE = {
    "rate": FloatDistribution(1e-4, 1e-3, log=True),
    "gamma": FloatDistribution(0.9, 0.99),
    "horizon": CategoricalDistribution([6, 10, 15]),
    "replay_ratio": CategoricalDistribution([0.25, 0.5, 1.0]),
    "longest_episode": CategoricalDistribution([10, 20]),
    "sequence_length": CategoricalDistribution([8, 16]),
}
SETTING = {name: getattr(Setting(), name) for name in SPACE}

make = Elsewhere(
    "dreamer",
    REQUIREMENTS,
    "benchmarks.comparison.sheeprl_dreamer:make",
    "sheeprl 0.8.4's DreamerV3, 1.5 M parameters, 8 sequences, 200 random steps, "
    + ", ".join(f"{name}={value}" for name, value in SETTING.items()),
    SETTING,
    SPACE,
)
