"""Measurements of speed and of what the parts can do; each prints JSON."""
