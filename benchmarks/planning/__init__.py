"""Comparison of planners: quality and cost of plans."""
