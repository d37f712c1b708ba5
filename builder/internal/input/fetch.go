//go:build linux

package input

import (
	"context"

	"github.com/oakum-build/oakum/builder/internal/gitrepo"
	"github.com/oakum-build/oakum/builder/internal/step"
	"github.com/oakum-build/oakum/builder/internal/workspace"
)

// What a URL or a git reference names is fetched into a layer of its own, on nothing, and read
// from there as from a stage: the store's staging, locks and cache serve for it, too.

// Fetch is a step on nothing whose files come from a server.
type Fetch struct {
	// Key says what is fetched, without credentials.
	Key step.Key
	// Content is the digest of what will come; "" when only the server knows. Fresh fetches it
	// though the store has it.
	Content string
	Fresh   bool
	// Make puts the files into an empty root and gives the digest of their content. When it
	// finds out on the way that the store has a layer of that content, by have, it gives
	// step.ErrFound with it.
	Make func(ctx context.Context, have func(content string) bool, into workspace.Workspace) (content string, err error)
}

// timed says that the times of the files are not just those of the fetching, or of a clone.
func (s *Source) timed() bool {
	switch {
	case s.Git != nil:
		ref, err := gitrepo.Parse(s.Git.Ref)
		return s.Git.CommitTimes || err == nil && ref.CommitTime
	case s.Stream != nil:
		return s.Stream.Foreign
	}
	return s.URL != nil
}
