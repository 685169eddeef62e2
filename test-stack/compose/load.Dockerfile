# Producers and consumer groups that lag in every way.
FROM python:3.13-slim-bookworm
WORKDIR /load
COPY requirements.txt .
RUN pip install --no-cache-dir --no-deps --require-hashes -r requirements.txt
COPY test-stack/load.py test-stack/generate.py ./
USER nobody
ENTRYPOINT ["python", "generate.py", "--running-file", "/tmp/running"]
