"""The results of a training run: reporting and loading."""
