"""Distances to the truth: pixels and structure, spectra, frequencies."""
