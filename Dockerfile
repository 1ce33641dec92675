# A node. Settable from outside: the build arguments below (docker-compose.yml takes them from the environment), and
# docker's own HTTP_PROXY, HTTPS_PROXY and NO_PROXY.
ARG BASE_IMAGE=python:3.12-slim-bookworm
FROM ${BASE_IMAGE}

# More to trust, as PEM text, and Debian packages that projects need to build their requirements (gcc, git …).
ARG EXTRA_CERTIFICATES=""
ARG APT_PACKAGES=""
RUN set -eu; \
    if [ -n "$EXTRA_CERTIFICATES" ]; then \
        printf '%s\n' "$EXTRA_CERTIFICATES" >/usr/local/share/ca-certificates/extra.crt; \
        cat /usr/local/share/ca-certificates/extra.crt >>/etc/ssl/certs/ca-certificates.crt; \
    fi; \
    if [ -n "$APT_PACKAGES" ]; then \
        apt-get update; \
        apt-get install -y --no-install-recommends $APT_PACKAGES; \
        rm -rf /var/lib/apt/lists/*; \
    fi; \
    groupadd --gid 10001 testmesh; \
    useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin testmesh; \
    install -d -o testmesh -g testmesh -m 700 /data /secret

# pip, uv and the node trust what the system trusts, EXTRA_CERTIFICATES too.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1

# The requirements change seldom: this layer is kept while the sources change.
ARG PIP_INDEX_URL=""
ARG PIP_EXTRA_INDEX_URL=""
ARG PIP_TRUSTED_HOST=""
COPY requirements.txt /app/
RUN python3 -m venv /opt/testmesh \
    && /opt/testmesh/bin/pip install --no-cache-dir --require-hashes -r /app/requirements.txt

COPY docker/entrypoint.py docker/health.py /app/docker/
COPY src /app/src
# The user cannot write here, so what Python would keep for the next start is made now.
RUN /opt/testmesh/bin/python -m compileall -q /app

# Neither the node nor a project's tests need root: namespaces come with a user namespace of their own.
USER testmesh
WORKDIR /data
ENV HOME=/data
EXPOSE 5001
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/opt/testmesh/bin/python", "-I", "-S", "/app/docker/health.py"]
ENTRYPOINT ["/opt/testmesh/bin/python", "/app/docker/entrypoint.py"]
