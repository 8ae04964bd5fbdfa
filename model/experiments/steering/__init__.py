"""A vector added to the residual stream of a run that is computed anew."""
