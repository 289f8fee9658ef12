"""Chapter 3: light curves into one vector and back, from encoders and decoders in any combination."""
