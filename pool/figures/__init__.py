"""Drawings: `(data, axis) -> axis`. Draws, never computes. matplotlib is imported where it is used."""
