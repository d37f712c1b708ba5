#!/bin/sh
# The first job: it builds the stage that all platforms share, and pushes it.
#   IMAGE     REGISTRY/NAME:TAG of the result; the stage is pushed as that with -notes
#   CONTEXT   where the sources are: a directory, a git repository or the URL of an archive
set -eu
oakum build --target notes --push --tag "$IMAGE-notes" "$CONTEXT"
