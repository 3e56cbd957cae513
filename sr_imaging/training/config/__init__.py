"""What a training run is, as frozen dataclasses read from strict TOML."""
