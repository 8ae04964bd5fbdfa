"""How work is asked for: jobs, the clock, the inputs of an experiment, and what an engine offers. No torch."""
