"""Numbers about results: overlap with the truth and what follows. Computes, never draws."""
