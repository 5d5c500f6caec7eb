"""Watching an agent: its camera, belief and plan, in a window or as a film."""
