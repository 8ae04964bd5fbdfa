"""One run recorded, pass by pass, and what is computed from it where the weights are."""
