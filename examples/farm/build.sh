#!/bin/sh
# One job a platform: it builds for one, and pushes the image by a name of the job's own.
#   IMAGE     REGISTRY/NAME:TAG of the result
#   CONTEXT   where the sources are
#   PLATFORM  OS/ARCH[/VARIANT]; or PLATFORMS, several with spaces between, of which
#             JOB_COMPLETION_INDEX, which Kubernetes sets, counts one from 0
set -eu
if [ -z "${PLATFORM-}" ]; then
	set -- $PLATFORMS
	shift "$JOB_COMPLETION_INDEX"
	PLATFORM=$1
fi
part=$(IFS=/; set -- $PLATFORM; IFS=-; echo "$*")
oakum build --platform "$PLATFORM" --build-context "notes=docker-image://$IMAGE-notes" --push --tag "$IMAGE-$part" "$CONTEXT"
