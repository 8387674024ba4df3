"""How it improves: demonstrations, behaviour cloning, the trainer and its checkpoints."""
