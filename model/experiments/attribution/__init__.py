"""Why a step chose its token, part by part."""
