# mypy: ignore-errors
# ruff: noqa: S101
from client import pause


def test_topics_are_listed_once_something_was_published(connect):
    producer = connect()
    assert producer.topics() == []
    for topic in ("a", "b", "c"):
        producer.publish(topic, 1)
        pause(1)
    assert producer.topics() == ["a", "b", "c"]


def test_after_leaving_nothing_comes(connect):
    consumer, producer = connect(), connect()
    consumer.subscribe("news")
    pause(1)
    consumer.unsubscribe("news")
    pause(1)
    producer.publish("news", "late")
    pause(1)
    consumer.subscribe("other")
    pause(0.2)
    producer.publish("other", "right")
    assert consumer.receive()["value"] == "right"
