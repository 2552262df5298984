#!/usr/bin/env bash
# Builds the images of all services and of the command: millrace-<service>:$TAG. Uses docker, or buildah where that is.
# ARGUMENTS goes to each build, e.g. "--build-arg RUNTIME_IMAGE=...".
set -euo pipefail
cd "$(dirname "$0")/.."
tag=${TAG:-dev}

if docker buildx version >/dev/null 2>&1 && docker info >/dev/null 2>&1; then
    build=(docker build)
elif command -v buildah >/dev/null; then
    build=(buildah build --layers)
else
    echo "needs docker with a running daemon, or buildah" >&2
    exit 1
fi
for service in ${SERVICES:-gateway order inventory audit log-ingest cli}; do
    echo "building millrace-$service:$tag"
    # shellcheck disable=SC2086 # the words are meant to split
    "${build[@]}" ${ARGUMENTS:-} --file deploy/Dockerfile --build-arg SERVICE="$service" --tag "millrace-$service:$tag" .
done
