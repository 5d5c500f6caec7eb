"""The application around environment and agent: commands, evaluation, watching, datasets, runs.

Nothing in `robot_room` outside this package imports it, so the environment needs no torch; this does.
"""
