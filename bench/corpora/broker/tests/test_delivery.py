# mypy: ignore-errors
# ruff: noqa: S101
from client import pause


def test_subscribers_get_all_messages_in_order(connect):
    consumers = [connect() for _ in range(3)]
    for consumer in consumers:
        consumer.subscribe("weather")
    pause(1)
    producer = connect()
    for number in range(6):
        producer.publish("weather", number)
        pause(0.5)
    for consumer in consumers:
        assert [consumer.receive()["value"] for _ in range(6)] == list(range(6))


def test_others_get_nothing(connect):
    consumer, producer = connect(), connect()
    consumer.subscribe("sport")
    pause(1)
    producer.publish("weather", "rain")
    pause(3)
    producer.publish("sport", "3:0")
    assert consumer.receive() == {"topic": "sport", "value": "3:0"}
