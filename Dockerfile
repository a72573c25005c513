# The demonstration as compose.yaml runs it. An application brings an image of its own.
FROM python:3.13-slim

WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir '.[all]' \
    && useradd --system --home-dir /data --create-home entity-sync

USER entity-sync
WORKDIR /data
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["entity-sync"]
CMD ["demo", "--host", "0.0.0.0"]
