"""The commands of `robot-room`, a file each: a dataclass of options and a `main` that takes it."""
