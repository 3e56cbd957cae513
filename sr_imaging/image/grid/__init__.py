"""Where an image lies: its axes, the reference that places it, and the refined grid."""
