"""Face geometry: arrays in, arrays out. No files, no networks."""
