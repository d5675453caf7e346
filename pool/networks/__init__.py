"""Networks only: what turns a batch of space-time patches into logits. No data, no training, no uncertainty."""

from pool.networks.spec import NetworkSpec, build_network

__all__ = ["NetworkSpec", "build_network"]
