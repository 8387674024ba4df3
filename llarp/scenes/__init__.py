"""Where things stand: the catalogue of names, layouts and standing points."""
