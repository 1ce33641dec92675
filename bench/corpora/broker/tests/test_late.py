# mypy: ignore-errors
# ruff: noqa: S101
from client import pause


def test_who_comes_late_gets_the_last_value(connect):
    producer = connect()
    producer.publish("temperature", 21)
    producer.publish("temperature", 22)
    pause(1)
    assert producer.topics() == ["temperature"]
    consumer = connect()
    consumer.subscribe("temperature")
    pause(0.5)
    found = consumer.receive(2)
    assert found is not None, "nothing came"
    assert found["value"] == 22


def test_who_comes_late_to_another_topic_gets_nothing(connect):
    producer = connect()
    producer.publish("temperature", 21)
    pause(1)
    consumer = connect()
    consumer.subscribe("humidity")
    pause(1.5)
    assert consumer.receive(0.1) is None
