"""Patches through a network at the speed of the hardware: the same probabilities as the network's, sooner."""

from pool.engine.forward import Engine
from pool.engine.settings import EngineSettings

__all__ = ["Engine", "EngineSettings"]
