"""Speed and memory of the environment."""
