"""habitat-sim as a simulator, and this project's layouts as its scenes. Imported only when asked for."""
