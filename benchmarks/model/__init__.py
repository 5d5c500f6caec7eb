"""Experiments with the world model: ablation, posterior families, training speed."""
