"""Many episodes stepped at once, their state in arrays."""
