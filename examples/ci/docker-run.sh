#!/bin/sh
# Docker, without a builder of its own and without its socket: builds the context in this directory, or
# the one that is given, and pushes the image. A volume keeps the store with the layer cache.
set -e
image=${IMAGE:?is the name of the image, with its registry}
context=$(cd "${1:-.}" && pwd)
docker run --rm \
	--volume "$context:/context:ro" \
	--volume "${DOCKER_CONFIG:-$HOME/.docker}:/dockerconfig:ro" --env DOCKER_CONFIG=/dockerconfig \
	--volume oakum:/var/lib/containers \
	registry.example/oakum oakum build --push --tag "$image" /context
