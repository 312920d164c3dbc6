"""Dialogues in which the model calls tools."""
