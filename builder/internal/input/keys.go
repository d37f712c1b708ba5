//go:build linux

package input

import (
	"github.com/oakum-build/oakum/builder/internal/download"
	"github.com/oakum-build/oakum/builder/internal/gitrepo"
	"github.com/oakum-build/oakum/builder/internal/step"
)

// What of a source goes into the keys of what is copied, fetched and read, and why the rest does
// not, is in TestKeys.

// Key is what of the input goes into the key of a copy, beside the content read.
func (in *Input) Key() step.SourceKey {
	src := in.src
	return step.SourceKey{
		Patterns: src.Patterns, Exclude: src.Exclude, Chown: src.Chown, Chmod: src.Chmod, KeepOwner: src.KeepsOwners(),
		Packed: src.Packed, Timed: in.Timed(), Parents: src.Parents, KeepDirs: in.KeepsDirs(),
	}
}

func urlKey(u URL) step.URLKey { return step.URLKey{URL: download.Redacted(u.URL)} }

func gitKey(ref gitrepo.Ref, keep bool) step.GitKey {
	return step.GitKey{Remote: ref.Public(), Subdir: ref.Subdir, Keep: keep, SkipSubmodules: ref.SkipSubmodules, CommitTimes: ref.CommitTime}
}

func readKey(src *Source) step.ReadKey {
	return step.ReadKey{
		Patterns: src.Patterns, Parents: src.Parents, Ignore: src.Ignore, Exclude: src.Exclude,
		KeepOwner: src.KeepsOwners(), Timed: src.timed(), Top: src.top(),
	}
}
