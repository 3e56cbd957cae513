"""Pictures and curves of an evaluation."""
