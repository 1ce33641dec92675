import json
import pickle
from xml.etree import ElementTree


class JSONSerializer:
    dumps = staticmethod(lambda message: json.dumps(message).encode())
    loads = staticmethod(json.loads)


class PickleSerializer:
    dumps = staticmethod(pickle.dumps)
    loads = staticmethod(pickle.loads)


class XMLSerializer:
    @staticmethod
    def dumps(message):
        root = ElementTree.Element("message", {key: str(value) for key, value in message.items()})
        return ElementTree.tostring(root)

    @staticmethod
    def loads(data):
        return dict(ElementTree.fromstring(data).attrib)
