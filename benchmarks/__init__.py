"""Experiments, grouped by the question that they answer; raw results lie in `results`."""
