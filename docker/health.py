"""The container's health check: exit code 0 where the node in it says that it is well."""

import http.client
import os
import sys


def main() -> int:
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("MESH_PORT") or 5001), timeout=4)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        sys.stdout.write(response.read(4096).decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        sys.stdout.write(str(error))
        return 1
    return int(response.status != 200)


if __name__ == "__main__":
    sys.exit(main())
