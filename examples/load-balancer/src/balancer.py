class RoundRobin:
    def __init__(self, servers):
        self.servers = list(servers)
        self.position = 0

    def select(self):
        server = self.servers[self.position]
        self.position = (self.position + 1) % len(self.servers)
        return server


class LeastConnections:
    def __init__(self, servers):
        self.connections = {server: 0 for server in servers}

    def select(self):
        # the bug: the most loaded one
        server = max(self.connections, key=self.connections.get)
        self.connections[server] += 1
        return server

    def release(self, server):
        self.connections[server] -= 1


class LeastResponseTime:
    def __init__(self, servers):
        self.times = {server: [] for server in servers}
        raise NotImplementedError("next week")
