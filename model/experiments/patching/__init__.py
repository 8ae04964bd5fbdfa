"""Pieces of one run put into another."""
