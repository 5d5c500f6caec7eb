"""The agent measured: a protocol, and comparisons by it."""
