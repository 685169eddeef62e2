# Producers and consumer groups that lag in every way.
FROM python:3.13-slim-bookworm
WORKDIR /load
COPY requirements.txt .
RUN pip install --no-cache-dir --no-deps --require-hashes -r requirements.txt
COPY test-stack/stack/load.py test-stack/stack/generate.py ./stack/
USER nobody
ENTRYPOINT ["python", "-m", "stack.generate", "--running-file", "/tmp/running"]
