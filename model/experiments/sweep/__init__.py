"""Every attention head switched off in turn."""
