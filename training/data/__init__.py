"""One layout for every survey's light curves, and the importers that fill it."""
