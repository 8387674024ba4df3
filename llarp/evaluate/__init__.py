"""How good it is: episode runner, intervals, report and films."""
