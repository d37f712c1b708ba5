#!/bin/sh
# The last job: it makes an index of the images that the others have pushed, and pushes that. No layer comes
# here: the images stay where they are.
#   IMAGE      REGISTRY/NAME:TAG
#   PLATFORMS  those that were built for, with spaces between
set -eu
parts=
for platform in $PLATFORMS; do
	parts="$parts docker://$IMAGE-$(IFS=/; set -- $platform; IFS=-; echo "$*")"
done
oakum manifest create --replace "$IMAGE" $parts
oakum manifest push --quiet --rm "$IMAGE"
