"""Where it happens: the simulator interface, the embedded MuJoCo simulator and the gymnasium environment."""
