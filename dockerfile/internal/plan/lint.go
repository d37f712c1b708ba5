package plan

import (
	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
)

// What the checks of a Dockerfile share with its planning.

// PlatformArgs gives, as NAME=value, the arguments that FROM sees without any ARG. Build
// arguments override them; target is the name of the stage that is built, or "", and
// platform what it is built for.
func PlatformArgs(args map[string]string, target string, platform platforms.Platform) []string {
	vars := platformArgs(args, target, platform)
	var list []string
	for _, name := range vars.names {
		list = append(list, name+"="+vars.values[name])
	}
	return list
}

// Silent is a linter that reports nothing. BuildKit's parser does not stand having
// none where a comment above an instruction has settings for it.
func Silent() *linter.Linter { return linter.New(&linter.Config{SkipAll: true}) }
