"""Generators that are trained, a file an architecture."""
