"""The commands of `robot-room`. Each file has a dataclass of options and a `main` that takes it."""
