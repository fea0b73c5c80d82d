"""Face geometry without trained weights: detection, mesh scheme, track, motion, warp, maps, masks."""
