"""Faults, done on purpose: kills, full disks, hostile files, senseless calls and long runs."""
