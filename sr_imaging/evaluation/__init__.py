"""Measures a model on scans, and compares it with cubic interpolation."""
