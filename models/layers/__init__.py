"""Parts that ATAT, the autoencoders and self-supervision are built from."""
