"""What one sees of a run: validation, stability, pictures, log."""
