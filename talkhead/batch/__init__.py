"""Many videos by one command: which they are, who makes them, and what is already made."""
