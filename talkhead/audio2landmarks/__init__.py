"""Stage one: landmarks of a face from a voice."""
