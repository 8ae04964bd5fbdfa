"""Several texts served at once through a paged cache, and timed under three schedulers."""
