"""The benchmark's released episodes: reading them, and fitting layouts to what they record."""
