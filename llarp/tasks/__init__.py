"""What is asked: skills, predicates, goals, instructions, episodes, splits and the expert."""
