"""What the camera sees: bodies, looks, rays and shading."""
