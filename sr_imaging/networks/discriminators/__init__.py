"""Discriminators, which tell generated patches from real ones."""
