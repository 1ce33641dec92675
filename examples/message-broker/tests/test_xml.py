import pytest

from src.middleware import XMLQueue


@pytest.mark.parametrize("topic", ["weather", "temp", "msg"])
def test_a_consumer_gets_what_a_producer_sends(queues, topic):
    producer, consumer = queues(XMLQueue, topic)
    producer.push("21")
    assert consumer.pull() == (topic, "21")


def test_messages_keep_their_order(queues):
    producer, consumer = queues(XMLQueue, "order")
    for value in "abc":
        producer.push(value)
    assert [consumer.pull()[1] for _ in range(3)] == ["a", "b", "c"]


def test_the_last_value_greets_a_late_consumer(queues):
    producer, consumer = queues(XMLQueue, "late")
    producer.push("first")
    producer.push("last")
    assert [consumer.pull()[1], consumer.pull()[1]] == ["first", "last"]
    _, late = queues(XMLQueue, "late")
    assert late.pull() == ("late", "last")
