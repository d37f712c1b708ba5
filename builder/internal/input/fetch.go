//go:build linux

package input

import (
	"context"
	"os"

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

// fetched fetches what the store does not have. Of a content that is known, and that was fetched before, here or where a
// cache comes from, it may do for the caller to know what was read: see Call.Later.
func fetched(ctx context.Context, env Env, src *Source, f Fetch) (files, error) {
	if env.Call.Later && f.Content != "" && !f.Fresh {
		if l := env.Layers.Remembered(ctx, f); l != nil && env.Layers.Known(l, readKey(src)) != "" {
			return &later{newLayer(env, src, l, nil, nil), f, *src}, nil
		}
	}
	l, err := env.Layers.Fetch(ctx, f)
	if err != nil {
		return nil, err
	}
	return heldLayer(env, src, l), nil
}

// later is what was fetched, and is not in the store. What was read of it is known, and it is
// fetched again when it is opened. The server may date it otherwise by then: what is read counts.
type later struct {
	*layer // the one that is gone; from open on, the new one
	fetch  Fetch
	src    Source
}

func (l *later) open(ctx context.Context) (*os.File, error) {
	got, err := l.env.Layers.Fetch(ctx, l.fetch)
	if err != nil {
		return nil, err
	}
	l.layer = heldLayer(l.env, &l.src, got)
	return l.layer.open(ctx)
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
