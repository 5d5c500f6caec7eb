"""Episodes recorded as Minari datasets."""
