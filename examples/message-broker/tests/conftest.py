import threading
import time

import pytest

from src.broker import Broker


def until(condition, seconds=5):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def broker():
    broker = Broker()
    thread = threading.Thread(target=broker.run, daemon=True)
    thread.start()
    yield broker
    broker.stop()
    thread.join(timeout=5)


@pytest.fixture
def queues(broker):
    """Makes a producer, and a consumer that the broker knows of."""
    opened = []

    def make(kind, topic):
        producer, consumer = kind(topic), kind(topic)
        opened.extend((producer, consumer))
        before = len(broker.subscribers.get(topic, {}))
        consumer.subscribe()
        until(lambda: len(broker.subscribers.get(topic, {})) > before)
        return producer, consumer

    yield make
    for queue in opened:
        queue.close()
