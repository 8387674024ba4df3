"""Who decides: frozen backbones, trained adapters, the LLaRP policy and the baselines."""
