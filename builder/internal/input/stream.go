//go:build linux

package input

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/oakum-build/oakum/builder/internal/extract"
	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/owners"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// stream is a tar stream. It can be read once, so it is unpacked when it is first asked for: in
// memory what a caller holds in memory, too, and what may be large on disk.
type stream struct {
	env     Env
	file    *os.File
	foreign bool
	path    string
	root    *os.File
	owners  *owners.Owners
}

func findStream(env Env, s Stream) (*stream, error) {
	if s.File < 1 || s.File > len(env.Call.Files) {
		return nil, invalid("no file %d", s.File)
	}
	return &stream{env: env, file: env.Call.Files[s.File-1], foreign: s.Foreign}, nil
}

func (s *stream) open(ctx context.Context) (*os.File, error) {
	if s.path != "" {
		return nil, errors.New("the stream has been read already")
	}
	within := s.env.Memory
	var err error
	if s.foreign {
		if within, err = s.env.Store.Scratch(); err != nil {
			return nil, err
		}
	}
	if s.path, err = os.MkdirTemp(within, "stream-"); err != nil {
		return nil, err
	}
	if s.root, err = os.Open(s.path); err != nil {
		return nil, err
	}
	// What of it is taken is looked at when it is copied, and gets another owner.
	s.owners = owners.New()
	left := &tarfilter.LeftOut{}
	judge := &tarfilter.Archive{AnyName: true, LeftOut: left}
	o := extract.Options{Owners: s.owners, Owner: &filecopy.IDs{}}
	if s.foreign {
		o.MaxBytes, o.MaxFiles = s.env.Store.LayerLimits()
	} else { // the program's own files, which may be fewer bytes than they have said
		judge.Free = func() uint64 { return math.MaxUint64 }
	}
	err = extract.Archive(ctx, s.root, s.file, judge, o)
	for _, text := range left.Notices() {
		s.env.Call.Warn(text)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the source's files: %w", err)
	}
	// It may be shown to a user of a command, and is then the same whatever the stream says of it.
	if err := errors.Join(s.owners.Chmod(s.root, "", 0o755), s.owners.Chown(s.root, "", 0, 0)); err != nil {
		return nil, err
	}
	return s.root, nil
}

func (s *stream) fill(tree *filecopy.Tree) error {
	tree.Sockets, tree.Owners = true, s.owners
	return nil
}

func (s *stream) known() string { return "" }

func (s *stream) learn(string) error { return nil }

func (s *stream) close() error {
	if s.path == "" {
		return nil
	}
	var err error
	if s.root != nil {
		err = s.root.Close()
	}
	return errors.Join(err, os.RemoveAll(s.path))
}
