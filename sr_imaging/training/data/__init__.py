"""From scans to batches of patches, through MONAI."""
