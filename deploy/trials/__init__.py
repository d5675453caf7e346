"""The service under attack: killed at random, flooded, and sent what nobody should send."""
