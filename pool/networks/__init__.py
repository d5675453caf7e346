"""Networks only: what turns a batch of space-time patches into logits. No data, no training, no uncertainty."""

from pool.networks.spec import PATCH_KIND, NetworkSpec, build_network

__all__ = ["PATCH_KIND", "NetworkSpec", "build_network"]
