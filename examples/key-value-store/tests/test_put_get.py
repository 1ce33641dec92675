import pytest

from src.client import Client


@pytest.mark.parametrize("value", ["text", 42, [1, 2, 3], {"nested": True}, None])
def test_what_is_put_can_be_got(client, value):
    assert client.call("put", key="k", value=value) == {"ok": True}
    assert client.call("get", key="k") == {"value": value}


def test_a_missing_key_has_no_value(client):
    assert client.call("get", key="missing") == {"value": None}


def test_delete(client):
    client.call("put", key="gone", value=1)
    assert client.call("delete", key="gone") == {"ok": True}
    assert client.call("delete", key="gone") == {"ok": False}


def test_two_clients_see_the_same(client):
    client.call("put", key="shared", value="seen")
    other = Client(5001)
    assert other.call("get", key="shared") == {"value": "seen"}
    other.close()
