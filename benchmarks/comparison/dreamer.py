"""DreamerV3 in the comparison: a recurrent state-space model of another library, sheeprl.

    robot-room benchmark --algorithm dreamer=benchmarks.comparison.dreamer:make

sheeprl needs another moviepy than this project, and so has a virtual environment of its own.
"""

from benchmarks.engine.elsewhere import Elsewhere

REQUIREMENTS = ("sheeprl==0.8.4", "torch==2.13.0", "gymnasium==1.4.0", "numpy==2.4.6")
"""The last three as this project pins them."""

make = Elsewhere(
    "dreamer",
    REQUIREMENTS,
    "benchmarks.comparison.sheeprl_dreamer:make",
    "sheeprl 0.8.4's DreamerV3, 1.5 M parameters, 8 sequences of 16 steps, rate=0.0004, gamma=0.97, "
    "horizon=10, replay_ratio=0.5, random_steps=200, longest_episode=10",
)
