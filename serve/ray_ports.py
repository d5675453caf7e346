"""Where Ray Serve's replicas listen.

Ray Serve 2.60 opens a port in every replica, on all interfaces whatever address its node has, and unpickles what comes
in there: whoever reaches it can run programs, unless Ray's token authentication is on. A node on loopback has no use
for other interfaces.
"""

from __future__ import annotations

from typing import Any

from serve.loopback import is_loopback

_ALL_INTERFACES, _LOOPBACK = "[::]:", "127.0.0.1:"


def keep_replica_on_loopback() -> None:
    """Let the replica that this process is about to become listen on loopback alone, if its Ray node does.

    Called by a deployment's constructor, after which Ray Serve opens the port. On other nodes nothing is changed: there
    other nodes have to reach it, and the cluster's token protects it.
    """
    import ray
    from ray.serve._private import replica

    if not is_loopback(ray.util.get_node_ip_address()):
        return
    open_port = replica.add_port_to_grpc_server
    if getattr(open_port, "keeps_to_loopback", False):
        return

    def open_loopback_port(server: Any, address: str) -> int:
        return int(open_port(server, address.replace(_ALL_INTERFACES, _LOOPBACK)))

    open_loopback_port.keeps_to_loopback = True  # type: ignore[attr-defined]
    replica.add_port_to_grpc_server = open_loopback_port
