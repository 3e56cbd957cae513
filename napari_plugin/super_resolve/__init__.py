"""The widget *Super-resolve*: what it shows, what it plans, and the run in its thread."""
