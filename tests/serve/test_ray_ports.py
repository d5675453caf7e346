"""Replicas of a service on loopback listen on loopback alone."""

from __future__ import annotations

import pytest
from ray.serve._private import replica

from serve.ray_ports import keep_replica_on_loopback


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses of ports that Ray Serve opened."""
    addresses: list[str] = []

    def open_port(_server: object, address: str) -> int:
        addresses.append(address)
        return 7

    monkeypatch.setattr(replica, "add_port_to_grpc_server", open_port)
    return addresses


@pytest.mark.parametrize(("node", "address"), [("127.0.0.1", "127.0.0.1:0"), ("192.0.2.7", "[::]:0")])
def test_a_replicas_port_is_on_loopback_where_its_node_is(
    opened: list[str], monkeypatch: pytest.MonkeyPatch, node: str, address: str
) -> None:
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: node)
    for _ in range(2):  # a process may become a replica more than once in a test, never in life
        keep_replica_on_loopback()
    assert replica.add_port_to_grpc_server(object(), "[::]:0") == 7
    assert opened == [address]


def test_ray_serve_still_opens_its_port_by_this_function() -> None:
    import inspect

    assert 'add_port_to_grpc_server(self._server, "[::]:0")' in inspect.getsource(replica)
