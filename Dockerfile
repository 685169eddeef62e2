# klag-trio's image, and its variant with Kerberos:
#   docker build --tag klag-trio .
#   docker build --tag klag-trio:kerberos --target kerberos .
# No step depends on the architecture: docker buildx build --platform linux/amd64,linux/arm64 makes one image for both.
#
# Pinned by tag, as a digest cannot be looked up where this file is written and tested. A build of yours can pin it:
#   --build-arg PYTHON=python:3.13-slim-bookworm@sha256:...
ARG PYTHON=python:3.13-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
# The environment that is kept has no pip; another one's pip fills it.
RUN python -m venv /tools && python -m venv --without-pip /opt/klag-trio
COPY requirements.txt requirements-build.txt ./
RUN /tools/bin/pip --python /opt/klag-trio/bin/python install --no-deps --no-compile --require-hashes --only-binary :all: -r requirements.txt \
    && /tools/bin/pip install --no-deps --require-hashes -r requirements-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /tools/bin/pip --python /opt/klag-trio/bin/python install --no-deps --no-compile --no-index /wheels/klag_trio-*.whl
# With a read-only root Python cannot keep bytecode. It is not checked against sources that cannot change.
RUN python -m compileall -q --invalidation-mode unchecked-hash /opt/klag-trio/lib

FROM ${PYTHON} AS runtime
LABEL org.opencontainers.image.title="klag-trio" \
      org.opencontainers.image.description="Kafka consumer-group lag exporter: exact offset and time lag for Prometheus and OpenTelemetry" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13-slim-bookworm"
# Of pip, and of its wheel that ensurepip has, only scanners would make use. The base image leaves out the bytecode of
# the standard library.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3.*/ensurepip /usr/local/lib/python3.*/site-packages/pip* \
    && ! python -c "import pip" 2>/dev/null \
    && python -c "import compileall, py_compile, re, sys, sysconfig; sys.exit(not compileall.compile_dir(sysconfig.get_path('stdlib'), quiet=1, rx=re.compile('/(site-packages|dist-packages|test|tests|idlelib|lib2to3)/'), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH))" \
    && groupadd --gid 65532 klag-trio \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin klag-trio
ENV PATH=/opt/klag-trio/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HEALTH_URL=http://127.0.0.1:8000/health
# config.toml is looked for here, then in /etc/klag-exporter.
WORKDIR /app
USER 65532:65532
EXPOSE 8000
# Python, as there is no curl. Another port, or the probes' own listener, goes into HEALTH_URL. Kubernetes has its own probes.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(os.environ['HEALTH_URL'], timeout=4).read()"]
# Which commit it is of says --build-arg REVISION="$(git rev-parse HEAD)".
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# No tini: klag-trio handles SIGTERM and SIGINT itself, also as process 1, and waits for the processes that it starts.
ENTRYPOINT ["klag-trio"]

FROM build AS kerberos-build
# The versions are those of the base image's release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ gcc libc6-dev make npm pkg-config libcurl4-openssl-dev libsasl2-dev libssl-dev libzstd-dev zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
COPY scripts/build-kerberos scripts/build-kerberos
RUN PYTHON=/tools/bin/python scripts/build-kerberos /wheels/kerberos \
    && /tools/bin/pip --python /opt/klag-trio/bin/python install --no-deps --no-compile --force-reinstall --no-index /wheels/kerberos/*/confluent_kafka-*.whl \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/klag-trio/lib

FROM runtime AS kerberos
USER 0:0
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends krb5-user libcurl4 libsasl2-2 libsasl2-modules-gssapi-mit libssl3 libzstd1 \
    && rm -rf /var/lib/apt/lists/*
# Not over the other one, whose confluent-kafka has files that this one's lacks.
COPY --from=kerberos-build /opt/klag-trio /opt/klag-trio
USER 65532:65532

# What is built where no target is named.
FROM runtime AS klag-trio
COPY --from=build /opt/klag-trio /opt/klag-trio
