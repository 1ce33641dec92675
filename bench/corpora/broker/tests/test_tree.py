# mypy: ignore-errors
# ruff: noqa: S101
from client import pause


def test_a_topic_has_those_below_it(connect):
    consumer, producer = connect(), connect()
    consumer.subscribe("europe")
    pause(1)
    producer.publish("europe/portugal", "sun")
    pause(1)
    assert consumer.receive() == {"topic": "europe/portugal", "value": "sun"}


def test_what_is_no_order_is_refused(connect):
    client = connect()
    client.socket.sendall(b"hello?\n")
    pause(2)
    assert client.receive() == {"error": "not understood"}
