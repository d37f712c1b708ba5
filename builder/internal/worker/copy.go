//go:build linux

package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// copyKey is what of a Copy goes into the key beside the content read: not where the
// files come from, for the same files from elsewhere are the same step.
type copyKey struct {
	Dest        string
	Dir, Unpack bool
	Link        bool `json:",omitempty"`
	Sources     []copySourceKey
}

type copySourceKey struct {
	Patterns, Exclude []string
	Chown, Chmod      string
	KeepOwner         bool
	Packed            bool `json:",omitempty"`
	Timed             bool `json:",omitempty"`
	Parents           bool `json:",omitempty"`
}

func (s CopySource) keepsOwners() bool { return s.Stage != "" && !s.Rooted && s.Chown == "" }

func (w *worker) copy(ctx context.Context, call *wire.Call, p Copy) (Stepped, error) {
	s, err := w.stage(p.Stage)
	if err != nil {
		return Stepped{}, err
	}
	if s.lookup && s.noCache {
		return Stepped{}, errUncached // nothing need be fetched for that
	}
	forget, err := w.fetchSources(ctx, call, &p, s.noCache)
	if err != nil {
		return Stepped{}, err
	}
	defer forget()
	what := copyKey{Dest: p.Dest, Dir: p.Dir, Unpack: p.Unpack, Link: p.Link}
	for _, src := range p.Sources {
		what.Sources = append(what.Sources, copySourceKey{src.Patterns, src.Exclude, src.Chown, src.Chmod, src.keepsOwners(), src.Packed, src.Timed, src.Parents})
	}
	memo, err := w.contentMemo(p.Sources)
	if err != nil {
		return Stepped{}, err
	}
	t := &trees{ctx: ctx, w: w, call: call}
	defer t.close()
	sums := w.fileSums(p.Sources)
	defer sums.save()
	op := operation{
		what: what,
		note: noting(call),
		content: func(ctx context.Context) (string, error) {
			if content, ok := w.store.Content(memo.key); ok {
				return content, nil
			}
			sources, err := t.open(p.Sources)
			if err != nil {
				return "", err
			}
			content, err := filecopy.Digest(ctx, sources, sums)
			return content, t.remember(memo, content, err)
		},
		do: func(ctx context.Context, below *storage.Layer, staging storage.Staging) (string, error) {
			sources, err := t.open(p.Sources)
			if err != nil {
				return "", err
			}
			content, err := w.copyInto(ctx, call, p, sources, sums, below, staging)
			return content, t.remember(memo, content, err)
		},
	}
	if p.Link {
		return w.link(ctx, s, op)
	}
	return w.step(ctx, s, op)
}

// memo is where the content of stages' layers is remembered, so that nothing of them is
// mounted or read again. The key is "" when a source can change.
type memo struct {
	key    string
	layers []string
}

func (w *worker) contentMemo(sources []CopySource) (memo, error) {
	h := sha256.New()
	var layers []string
	for _, src := range sources {
		if src.Stage == "" {
			return memo{}, nil
		}
		s, err := w.stage(src.Stage)
		if err != nil {
			return memo{}, err
		}
		src.Stage = ""
		top := s.top()
		key, err := stepKey(top, src)
		if err != nil {
			return memo{}, err
		}
		fmt.Fprintln(h, key)
		if top != nil {
			layers = append(layers, top.ID())
		}
	}
	return memo{hex.EncodeToString(h.Sum(nil)), layers}, nil
}

// remember remembers a content that was read, unless layers went meanwhile.
func (t *trees) remember(at memo, content string, err error) error {
	for _, l := range t.layers {
		err = errors.Join(t.w.store.Intact(l), err)
	}
	if err != nil || at.key == "" || content == "" {
		return err
	}
	return t.w.store.RememberContent(at.key, content, at.layers...)
}

func (w *worker) copyInto(ctx context.Context, call *wire.Call, p Copy, sources []filecopy.Source, sums filecopy.FileSums, below *storage.Layer, staging storage.Staging) (content string, err error) {
	m, err := w.mount(below, &staging, false)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	left := &tarfilter.LeftOut{}
	defer func() { tell(call, left.Notices()) }()
	to := filecopy.Target{Root: m.root, Dest: p.Dest, Dir: p.Dir, LeftOut: left}
	for i, src := range p.Sources {
		if src.Chown == "" {
			continue
		}
		uid, gid, err := sandbox.LookupOwner(m.root, src.Chown)
		if err != nil {
			return "", fmt.Errorf("chown: %w", err)
		}
		if err := checkMapped("owner "+src.Chown, sandbox.User{UID: uid, GID: gid}); err != nil {
			return "", err
		}
		to.Owner = filecopy.IDs{UID: uid, GID: gid}
		sources[i].Owner, sources[i].Chowned = &filecopy.IDs{UID: uid, GID: gid}, true
	}
	if p.Unpack {
		to.Unpack = func(f, dir *os.File, owner *filecopy.IDs) error { return unpack(ctx, left, f, dir, owner) }
	}
	return filecopy.Copy(ctx, to, sources, sums)
}

// trees opens the sources of one Copy, once.
type trees struct {
	ctx     context.Context
	w       *worker
	call    *wire.Call
	sources []filecopy.Source
	layers  []*storage.Layer // what stages' sources are of
	closers []func() error
}

func (t *trees) close() {
	for _, f := range t.closers {
		_ = f()
	}
}

func (t *trees) open(from []CopySource) ([]filecopy.Source, error) {
	if t.sources != nil {
		return t.sources, nil
	}
	for _, src := range from {
		root, err := t.root(src)
		if err != nil {
			return nil, err
		}
		out := filecopy.Source{Root: root, Patterns: src.Patterns, Parents: src.Parents, Ignore: src.Ignore, Exclude: src.Exclude, Packed: src.Packed, Timed: src.Timed, Sockets: src.Stage == ""}
		if src.Dir != "" {
			own := t.w.own(t.call, src.Dir)
			if err := own.check(root); err != nil {
				return nil, err
			}
			out.Apart = own.apart
		}
		if !src.keepsOwners() {
			out.Owner = &filecopy.IDs{}
		}
		if src.Chmod != "" {
			mode, err := filecopy.ParseMode(src.Chmod)
			if err != nil {
				return nil, err
			}
			out.Mode = &mode
		}
		t.sources = append(t.sources, out)
	}
	return t.sources, nil
}

func (t *trees) root(src CopySource) (*os.File, error) {
	switch {
	case src.Stage != "":
		s, err := t.w.stage(src.Stage)
		if err != nil {
			return nil, err
		}
		top, err := s.claimed()
		if err != nil {
			return nil, err
		}
		m, err := t.w.mount(top, nil, false)
		if err != nil {
			return nil, err
		}
		t.closers, t.layers = append(t.closers, m.close), append(t.layers, m.layer)
		return m.root, nil
	case src.File > 0:
		return t.stream(src.File, src.Tar)
	}
	f, err := os.Open(src.Dir)
	if err != nil {
		return nil, &filecopy.NotFoundError{Path: src.Dir, Why: "cannot be opened: " + errors.Unwrap(err).Error()}
	}
	t.closers = append(t.closers, f.Close)
	if info, err := f.Stat(); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%w: %s is not a directory", errInvalid, src.Dir)
	}
	return f, nil
}
