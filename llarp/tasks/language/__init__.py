"""Wordings of instructions and what they say of a layout."""
