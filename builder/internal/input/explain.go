//go:build linux

package input

import (
	"context"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/storage/fingerprints"
)

// listing is where a walk of the files collects them, nil when they have been collected.
func (in *Input) listing() *fingerprints.Listing {
	if in.list.Content() != "" {
		return nil
	}
	if in.list == nil {
		in.list = in.env.Store.Fingerprints().NewListing()
	}
	return in.list
}

// Listed are what walks have collected so far, and parts the digests of the inputs where there are
// several and all are known.
func (all Inputs) Listed() (lists []*fingerprints.Listing, parts []string) {
	for _, in := range all {
		if in.list.Content() != "" {
			lists = append(lists, in.list)
		}
		if in.digest != "" {
			parts = append(parts, in.digest)
		}
	}
	if len(all) < 2 || len(parts) != len(all) {
		parts = nil
	}
	return lists, parts
}

// List gives the files of all, whose digest is known. They are walked where nobody has collected them.
// It is false where they cannot be had.
func (all Inputs) List(ctx context.Context) ([]fingerprints.File, bool) {
	var files []fingerprints.File
	for _, in := range all {
		of, ok := in.filesOf(ctx)
		if !ok {
			return nil, false
		}
		files = append(files, of...)
	}
	return files, true
}

// filesOf gives the files of one.
func (in *Input) filesOf(ctx context.Context) ([]fingerprints.File, bool) {
	if in.list.Content() == in.digest && in.digest != "" {
		return in.list.Files(), true
	}
	if files, ok := in.env.Store.Fingerprints().Files(in.digest); ok {
		return files, true
	}
	in.list = nil
	tree, err := in.Open(ctx)
	if err != nil {
		return nil, false
	}
	if _, err := filecopy.Digest(ctx, tree); err != nil || in.list.Content() == "" {
		return nil, false
	}
	return in.list.Files(), true
}
