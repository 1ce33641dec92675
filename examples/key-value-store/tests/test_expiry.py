import time


def test_a_value_is_there_before_its_time(client):
    client.call("put", key="short", value=1, ttl=30)
    assert client.call("get", key="short") == {"value": 1}


def test_a_value_expires(client):
    client.call("put", key="shorter", value=1, ttl=0.3)
    time.sleep(0.5)
    assert client.call("get", key="shorter") == {"value": None}


def test_the_table_lists_the_keys(client):
    client.call("put", key="listed", value="yes")
    assert "listed" in client.call("table")["table"]
