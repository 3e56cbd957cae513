"""What many tests build and look up."""
