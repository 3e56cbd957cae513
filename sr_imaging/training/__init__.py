"""Train a generator, alone and then against a discriminator."""
