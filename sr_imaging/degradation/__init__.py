"""How a coarse image arises from a fine one: point-spread function, area mean, noise, real pairs."""
