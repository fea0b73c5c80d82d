"""The second system's renderer: class-conditioned diffusion of frames under mask-noise."""
