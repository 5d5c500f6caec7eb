"""How a policy is evaluated, scripted policies to compare with, and the report of a run."""
