"""Face geometry without trained weights: detection, mesh, track, pose, crop, warp, maps."""
