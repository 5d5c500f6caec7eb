"""Experiments, grouped by topic. Raw results are in `results`."""
